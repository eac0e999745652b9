"""Sources: the platforms that VMs leave. What needs the platform itself is an operation for a worker."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Given, Paged, page_of
from app.api.routes.operations import ask
from app.api.schemas import NewSource, PageOf
from app.domain.job import Operation
from app.domain.registered import RegisteredSource

router = APIRouter(prefix="/sources", tags=["sources"])


@router.post("", status_code=201)
def add_source(new: NewSource, given: Given, response: Response) -> RegisteredSource:
    made = given.registrations.add_source(
        name=new.name,
        kind=new.kind,
        host=new.host,
        tls=new.tls,
        credential=new.credential,
        username=new.username,
        password=new.password.get_secret_value(),
    )
    response.headers["Location"] = f"/v1/sources/{made.id}"
    return made


@router.get("")
def list_sources(given: Given, page: Paged) -> PageOf[RegisteredSource]:
    return page_of(given.store.sources.list(page))


@router.get("/{ref}")
def show_source(ref: str, given: Given) -> RegisteredSource:
    return given.store.sources.get(ref)


@router.delete("/{ref}", status_code=204)
def remove_source(ref: str, given: Given) -> None:
    """Forgets it with its inventory, and the password that was given with it."""
    given.store.sources.remove(ref)


@router.post("/{ref}/check", status_code=202)
def check_source(ref: str, given: Given, response: Response) -> Operation:
    """Reachable, certificate, login, version, privileges."""
    return ask(given, response, "check_source", given.store.sources.get(ref).id)


@router.post("/{ref}/refresh", status_code=202)
def refresh_source(ref: str, given: Given, response: Response) -> Operation:
    """Read the inventory again."""
    return ask(given, response, "refresh_inventory", given.store.sources.get(ref).id)
