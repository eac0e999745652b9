"""All pages, their files, and how errors look there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.api.guard import is_api
from app.domain.errors import VmferryError
from app.web.pages import jobs, login, new_plan, plans, system
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
        return RedirectResponse("/plans", 303)

    for module in (login, system, jobs, new_plan, plans):
        root.include_router(module.router)
    app.include_router(root)
    app.mount("/static", Files(directory=FILES), name="static")
    for kind in (VmferryError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _told_as_page(app.exception_handlers[kind]))


def _told_as_page(told_by_api: Callable[..., Any]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        answer: Response = await told_by_api(request, error)  # it also logs what is a fault of our own
        if is_api(request.url.path):
            return answer
        message, remedy, code = _said(error)
        status = HTTPStatus(answer.status_code)
        return page(request, "error", status, status=status, message=message, remedy=remedy, code=code)

    return handler


def _said(error: Exception) -> tuple[str, str, str]:
    """What happened, what to do, and the error's code."""
    match error:
        case VmferryError():
            return error.message, error.remedy, error.code
        case RequestValidationError():
            fields = ", ".join(sorted({str(item["loc"][-1]) for item in error.errors()}))
            return f"not valid: {fields}", "Go back and correct it.", "invalid_request"
        case HTTPException() if error.status_code == HTTPStatus.NOT_FOUND:
            return "there is no such page", "Start from the lists above.", "no_such_page"
        case HTTPException():
            return str(error.detail), "", ""
        case _:
            return "the service failed to answer this", "It is a fault of vmferry: report it with its log.", "internal"
