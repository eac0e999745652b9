"""Who may see pages: a browser with a session, and nobody who is sent here by another site's page."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Scope

from app.api.problems import CrossSite, status_of
from app.domain.errors import VmferryError
from app.store.sessions import LONGEST, Sessions
from app.web.render import error_page

COOKIE = "vmferry_session"
LOGIN = "/login"
STATIC = "/static/"
_SAFE = frozenset({"GET", "HEAD"})


class Access:
    """What the guard asks about pages (app/api/guard.py: Pages). `url`: by which people call the service."""

    def __init__(self, sessions: Sessions, url: str) -> None:
        self._sessions = sessions
        self._origin = _origin(url)

    async def admit(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if scope["method"] not in _SAFE:
            self._check_origin(scope, headers)
        if scope["path"].startswith(STATIC):
            return None
        text = session_text(headers)
        token = await run_sync(self._sessions.check, text) if text else None
        scope.setdefault("state", {})["token"] = token
        return None if token or scope["path"] == LOGIN else _to_login(scope, headers)

    def explain(self, error: VmferryError) -> ASGIApp:
        return error_page(status_of(error), error.message, error.remedy, error.code)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Against forged requests: every browser says from where it posts, and a page cannot make it lie."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin", "")
        if site is not None:
            ours = site == "same-origin"
        else:
            ours = _origin(origin) in (_origin(f"{scope['scheme']}://{headers.get('host', '')}"), self._origin)
        if not ours:
            raise CrossSite(
                "this was not sent from a page of this service",
                "Open the page here and send it again. Programs use the API under /v1, with a token.",
            )


def session_text(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def remember(response: Response, text: str, scope: Scope) -> None:
    response.set_cookie(
        COOKIE,
        text,
        max_age=int(LONGEST.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=scope["scheme"] == "https",
    )


def forget(response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def local_path(path: str) -> str:
    """A path of ours to go on with after the login; anything else is the first page."""
    ours = path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable()
    return path if ours and "\\" not in path else "/"


def _to_login(scope: Scope, headers: Headers) -> Response:
    if headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": LOGIN})
    if "text/event-stream" in headers.get("accept", ""):
        return Response(status_code=401)
    asked = scope["path"] if scope["method"] == "GET" else "/"
    return RedirectResponse(f"{LOGIN}?next={quote(asked, safe='/')}" if asked != "/" else LOGIN, 303)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port; None for what is no origin, as "null" is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.scheme and parts.hostname else None
