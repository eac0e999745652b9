"""Templates into answers. Everything is escaped; no page has a script or a style of its own in it."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from app.domain.registered import Token
from app.store.rows import now
from app.web import words

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # with no-referrer browsers post with the origin "null"
}


def page(request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A whole page. `template`: its file under templates/, without .html."""
    token: Token | None = getattr(request.state, "token", None)
    shown = (
        _templates()
        .get_template(f"{template}.html")
        .render(values, token=token, path=request.url.path, now=now(), version=version("vmferry"))
    )
    return HTMLResponse(shown, status, HEADERS)


def fragment(template: str, macro: str, /, *arguments: Any) -> Markup:
    """What one macro of a template makes: a part of a page."""
    made: Markup = getattr(_module(template), macro)(*arguments)
    return made.strip()


def error_page(status: HTTPStatus, message: str, remedy: str = "", code: str = "") -> HTMLResponse:
    """Also for somebody who is not known: it shows nothing of the service."""
    shown = (
        _templates()
        .get_template("error.html")
        .render(status=status, message=message, remedy=remedy, code=code, token=None, path="", now=now(), version="")
    )
    return HTMLResponse(shown, status, HEADERS)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("app.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= words.FILTERS
    return made


@cache
def _module(template: str) -> Any:
    return _templates().get_template(f"{template}.html").module
