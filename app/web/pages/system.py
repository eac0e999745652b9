"""The system: what it stands on, and whether that is in order."""

from __future__ import annotations

import shutil
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.deps import Given
from app.domain.errors import NotFound
from app.store.operations import Kind
from app.store.paging import MAX_LIMIT, PageRequest
from app.store.rows import now
from app.web.render import page

router = APIRouter(prefix="/system")

Name = Annotated[str, Form(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/]+$")]
_ALL = PageRequest(MAX_LIMIT)


@router.get("")
def show_system(request: Request, given: Given) -> HTMLResponse:
    return _shown(request, given)


@router.post("/sources/{ref}/{what}")
def look_at_source(given: Given, ref: str, what: str) -> RedirectResponse:
    kinds: dict[str, Kind] = {"check": "check_source", "refresh": "refresh_inventory"}
    if what not in kinds:
        raise NotFound(f"nothing is called {what} here")
    given.store.operations.ask(kinds[what], given.store.sources.get(ref).id)
    return RedirectResponse("/system", 303)


@router.post("/targets/{ref}/check")
def look_at_target(given: Given, ref: str) -> RedirectResponse:
    given.store.operations.ask("check_target", given.store.targets.get(ref).id)
    return RedirectResponse("/system", 303)


@router.post("/tokens")
def create_token(request: Request, given: Given, name: Name) -> HTMLResponse:
    """The only answer that shows the token's text, so that it does not go on to another page."""
    made, text = given.store.tokens.create(name)
    return _shown(request, given, made.name, text)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(given: Given, token_id: str) -> RedirectResponse:
    given.store.tokens.revoke(token_id)
    return RedirectResponse("/system", 303)


def _shown(request: Request, given: Given, made: str = "", text: str = "") -> HTMLResponse:
    store, settings = given.store, given.settings
    sources, targets = store.sources.list(_ALL).items, store.targets.list(_ALL).items
    names = {item.id: item.name for item in sources} | {item.id: item.name for item in targets}
    operations = store.operations.newest(limit=6)
    at = now()
    return page(
        request,
        "system",
        sources=sources,
        targets=targets,
        vms=store.inventory.counts(),
        operations=[(item, names.get(item.subject_id, "one that is gone")) for item in operations],
        workers=[(beat, (at - seen).total_seconds()) for beat, seen in store.workers.known()],
        settings=settings,
        disk=shutil.disk_usage(settings.home),
        tokens=store.tokens.list(_ALL).items,
        made=made,
        text=text,
    )
