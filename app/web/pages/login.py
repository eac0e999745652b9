"""In and out: a token is shown once, and a session stands for it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from app.api.deps import Given
from app.web.access import forget, local_path, remember, session_text
from app.web.render import page

router = APIRouter()

Text = Annotated[str, Form(max_length=500)]


@router.get("/login")
def show_login(request: Request, next: str = "/") -> HTMLResponse:
    return page(request, "login", next=local_path(next), wrong=False)


@router.post("/login")
def log_in(request: Request, given: Given, token: Text = "", next: Text = "/") -> Response:
    known = given.store.tokens.check(token.strip())
    if known is None:
        return page(request, "login", 401, next=local_path(next), wrong=True)
    answer = RedirectResponse(local_path(next), 303)
    remember(answer, given.store.sessions.create(known), request.scope)
    return answer


@router.post("/logout")
def log_out(request: Request, given: Given) -> RedirectResponse:
    given.store.sessions.end(session_text(request.headers))
    answer = RedirectResponse("/login", 303)
    forget(answer)
    return answer
