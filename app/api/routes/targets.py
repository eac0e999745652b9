"""Targets: the platforms that VMs arrive on."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Given, Paged, page_of
from app.api.routes.operations import ask
from app.api.schemas import NewTarget, PageOf
from app.domain.job import Operation
from app.domain.registered import RegisteredTarget

router = APIRouter(prefix="/targets", tags=["targets"])


@router.post("", status_code=201)
def add_target(new: NewTarget, given: Given, response: Response) -> RegisteredTarget:
    made = given.registrations.add_target(
        name=new.name,
        kind=new.kind,
        uri=new.uri,
        pool=new.pool,
        image=new.image,
        networks=new.networks,
        credential=new.credential,
    )
    response.headers["Location"] = f"/v1/targets/{made.id}"
    return made


@router.get("")
def list_targets(given: Given, page: Paged) -> PageOf[RegisteredTarget]:
    return page_of(given.store.targets.list(page))


@router.get("/{ref}")
def show_target(ref: str, given: Given) -> RegisteredTarget:
    return given.store.targets.get(ref)


@router.delete("/{ref}", status_code=204)
def remove_target(ref: str, given: Given) -> None:
    given.store.targets.remove(ref)


@router.post("/{ref}/check", status_code=202)
def check_target(ref: str, given: Given, response: Response) -> Operation:
    """libvirt answers, the pool can be written, the networks are there, the tools are installed."""
    return ask(given, response, "check_target", given.store.targets.get(ref).id)
