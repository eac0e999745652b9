"""Composition root of the API and the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

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
