"""Before any route: the Host header, the size of the body and who calls are looked at; nobody else needs to.

The API asks for a token. Everything else is pages, which ask for what browsers have (app/web/access.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.domain.errors import TooLarge, Unauthorized, VmferryError
from app.domain.registered import Token
from app.store.tokens import Tokens

MAX_BODY = 1 << 20  # a CA bundle is the largest thing that anyone else sends
LARGER = {  # sheets; documents of 10,000 VMs
    ("POST", "/v1/imports"): 50 << 20,
    ("PUT", "/v1/plans/"): 16 << 20,
    ("POST", "/plans/new/sheet"): 51 << 20,  # in a form
}
OPEN_PATHS = frozenset({"/openapi.json", "/v1/health/live", "/v1/health/ready"})
API = "/v1/"

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages(Protocol):
    """Who may see pages, and how an error is told there."""

    async def admit(self, scope: Scope) -> ASGIApp | None:
        """Put who calls into the scope's state; or the answer to somebody who may not."""
        ...

    def explain(self, error: VmferryError) -> ASGIApp: ...


class Guard:
    """ASGI middleware. Routes find who calls in `request.state.token`; the body they read is whole already."""

    def __init__(self, app: ASGIApp, *, tokens: Tokens, hosts: Collection[str], pages: Pages) -> None:
        self._app = app
        self._tokens = tokens
        self._pages = pages
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        page = not is_api(scope["path"])
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            if page:
                if refusal := await self._pages.admit(scope):
                    await refusal(scope, receive, send_safely)
                    return
            elif scope["path"] not in OPEN_PATHS:
                scope.setdefault("state", {})["token"] = await self._check_token(headers)
            body = await _read(headers, receive, largest(scope["method"], scope["path"]))
        except VmferryError as error:
            answer = self._pages.explain(error) if page else problems.from_error(error)
            await answer(scope, receive, send_safely)
            return
        await self._app(scope, _replay(body, receive), send_safely)

    def _check_host(self, headers: Headers) -> None:
        """Against DNS rebinding: a page of some site that resolves to us has that site's name in Host.

        An address cannot be rebound, so that any is taken.
        """
        name = ""
        with suppress(ValueError):
            name = urlsplit("//" + headers.get("host", "")).hostname or ""
        with suppress(ValueError):
            ipaddress.ip_address(name)
            return
        if name not in self._hosts:
            raise problems.HostNotAllowed(
                "this service is not known by the name in the Host header",
                "Call it by its address or localhost, or list the name in VMFERRY_ALLOWED_HOSTS.",
            )

    async def _check_token(self, headers: Headers) -> Token:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        token = await run_sync(self._tokens.check, text.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise Unauthorized(
                "no valid token" if text else "a token is needed",
                "Send `Authorization: Bearer TOKEN`; the first one is in the file `token` under VMFERRY_HOME.",
            )
        return token


def is_api(path: str) -> bool:
    return path.startswith(API) or path in OPEN_PATHS


def largest(method: str, path: str) -> int:
    """The bytes that a body may have."""
    return next((most for (verb, place), most in LARGER.items() if method == verb and path.startswith(place)), MAX_BODY)


async def _read(headers: Headers, receive: Receive, most: int) -> bytes:
    too_large = TooLarge(f"the body is larger than {most >> 20} MiB", code="body_too_large")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then whatever comes: the end of the connection."""
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed
