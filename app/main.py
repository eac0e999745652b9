"""Composition root of the API and the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from app.api import problems
from app.api.deps import services_for
from app.api.document import VERSION, openapi
from app.api.guard import Guard
from app.api.idempotency import Idempotency
from app.api.routing import add_routes
from app.services.tokens import ensure_first_token
from app.settings import Settings
from app.store.store import open_store
from app.web.access import Access
from app.web.routing import add_pages

GRACE_S = 3  # that a stop leaves to answers which are under way


def create_app(settings: Settings) -> FastAPI:
    """API and pages over a database that is at the current schema; the first token is made when there is none."""
    store = open_store(settings.database_url, settings.secret_key_file)
    ensure_first_token(settings, store)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(title="vmferry", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.services = services_for(settings, store)
    add_routes(app)
    problems.install(app)
    add_pages(app)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    hosts = {"localhost", settings.host, urlsplit(settings.url).hostname or "", *settings.allowed_hosts} - {""}
    app.add_middleware(Idempotency, keys=store.idempotency)
    pages = Access(store.sessions, settings.url)
    app.add_middleware(Guard, tokens=store.tokens, hosts=hosts, pages=pages)  # added last: the outermost
    return app


class Server(uvicorn.Server):
    """Serves what create_app made. Before it stops, streams end and long polls answer: it waits for none of them."""

    def __init__(self, app: FastAPI, **config: Any) -> None:
        """`config`: of uvicorn.Config."""
        super().__init__(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=GRACE_S, **config))
        self._stopping = app.state.services.stopping

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)
