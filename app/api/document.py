"""The OpenAPI document: served at /openapi.json and committed as openapi.json.

Write it anew with: python -m app.api.document > openapi.json
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.guard import OPEN_PATHS
from app.api.idempotency import HEADER, MAX_KEY, WITHOUT
from app.api.problems import Problem
from app.api.routing import add_routes

VERSION = version("vmferry")
DESCRIPTION = "Moves virtual machines from VMware vSphere to KVM. Errors are RFC 9457 problems."

_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Any text of your own: a request repeated with it within a day is answered again, not done again.",
    "schema": {"type": "string", "maxLength": MAX_KEY},
}


def openapi(app: FastAPI) -> dict[str, Any]:
    """What FastAPI knows, and what the middleware adds: the token and idempotency keys."""
    document = get_openapi(title="vmferry", version=VERSION, description=DESCRIPTION, routes=app.routes)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= problem.pop("$defs") | {"Problem": problem}
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in OPEN_PATHS:
                operation["security"] = []
            if method == "post" and path not in WITHOUT:
                operation.setdefault("parameters", []).append(_KEY)
    return document


def main() -> None:
    app = FastAPI()
    add_routes(app)
    print(json.dumps(openapi(app), indent=1, sort_keys=True, ensure_ascii=False))


if __name__ == "__main__":
    main()
