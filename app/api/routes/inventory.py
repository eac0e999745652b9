"""The VMs of all sources, as they were last seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Given, Paged
from app.api.schemas import AssessmentOut, InventoryVM, Named, PageOf
from app.domain.registered import ListedVM

router = APIRouter(prefix="/inventory", tags=["inventory"])

Filter = Annotated[str, Query(max_length=500)]
Ref = Annotated[str, Query(min_length=1, max_length=500)]


@router.get("/vms")
def list_vms(given: Given, page: Paged, source: Filter = "", name: Filter = "", q: Filter = "") -> PageOf[InventoryVM]:
    """`source` by id or name, `name` exactly, `q` a part of the name."""
    found = given.store.inventory.list(page, source=source, name=name, text=q)
    return PageOf(items=[_shown(item) for item in found.items], next_cursor=found.next)


@router.get("/assessments")
def list_assessments(
    given: Given, page: Paged, source: Ref, target: Filter = "", name: Filter = ""
) -> PageOf[AssessmentOut]:
    """How each VM of a source would move to a target, by what is stored of both; nothing is touched."""
    found = given.assessments.list(page, source=source, target=target, name=name)
    items = [
        AssessmentOut(
            vm=Named(id=item.listed.vm.id, name=item.listed.vm.name),
            source=Named(id=item.listed.source_id, name=item.listed.source_name),
            verdict=item.verdict,
            concerns=item.concerns,
            converter=item.converter,
            reason=item.reason,
            hardware=item.hardware,
            disk_bytes=item.listed.vm.disk_bytes,
            seconds=item.seconds,
        )
        for item in found.items
    ]
    return PageOf(items=items, next_cursor=found.next)


def _shown(item: ListedVM) -> InventoryVM:
    source = Named(id=item.source_id, name=item.source_name)
    return InventoryVM(**dict(item.vm), source=source, seen_at=item.seen_at)
