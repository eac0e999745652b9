"""All routes, under /v1."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

from app.api.routes import (
    credentials,
    events,
    health,
    imports,
    inventory,
    jobs,
    limits,
    operations,
    plans,
    sources,
    targets,
    tokens,
)

_PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


def add_routes(app: FastAPI) -> None:
    root = APIRouter(prefix="/v1", responses=_PROBLEM)
    for module in (
        sources,
        targets,
        credentials,
        inventory,
        imports,
        plans,
        jobs,
        limits,
        operations,
        events,
        tokens,
        health,
    ):
        root.include_router(module.router)
    app.include_router(root, generate_unique_id_function=lambda route: route.name)
