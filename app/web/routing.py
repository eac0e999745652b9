"""All pages, their files, and how errors look there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.api.guard import is_api
from app.api.problems import status_of
from app.domain.errors import NotFound, VmferryError
from app.web.pages import jobs, login, system
from app.web.render import page

FILES = Path(__file__).parent / "static"


class Files(StaticFiles):
    """Kept by browsers, which ask each time whether they are still the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def add_pages(app: FastAPI) -> None:
    """After the API's routes and handlers: it answers for every path that is not the API's."""
    root = APIRouter(include_in_schema=False)

    @root.get("/")
    def first() -> RedirectResponse:
        return RedirectResponse("/jobs", 303)

    for module in (login, system, jobs):
        root.include_router(module.router)
    app.include_router(root)
    app.mount("/static", Files(directory=FILES), name="static")
    for kind in (VmferryError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _told_as_page(app.exception_handlers[kind]))


def _told_as_page(told_by_api: Callable[..., Any]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        answer: Response = await told_by_api(request, error)  # also logs what is a fault of our own
        if is_api(request.url.path):
            return answer
        match error:
            case VmferryError():
                said = (error.message, error.remedy, error.code)
            case RequestValidationError():
                fields = ", ".join(sorted({str(item["loc"][-1]) for item in error.errors()}))
                said = (f"not valid: {fields}", "Go back and correct it.", "invalid_request")
            case HTTPException() if error.status_code == 404:
                return await handler(request, NotFound("there is no such page", "Look at the lists above."))
            case HTTPException():
                said = (str(error.detail), "", "")
            case _:
                said = ("the service failed to answer this", "It is a fault of vmferry: report it with its log.", "internal")
        status = status_of(error) if isinstance(error, VmferryError) else answer.status_code
        return page(request, "error", status, status=status, message=said[0], remedy=said[1], code=said[2])

    return handler
