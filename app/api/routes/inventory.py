"""The VMs of all sources, as they were last seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Given, Paged
from app.api.schemas import AssessmentOut, InventoryVM, Named, PageOf
from app.domain.registered import ListedVM
from app.services.assessments import Assessment, Verdict

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
    given: Given,
    page: Paged,
    source: Ref,
    target: Filter = "",
    name: Filter = "",
    verdict: Verdict | None = None,
    concern: Filter = "",
) -> PageOf[AssessmentOut]:
    """How each VM of a source would move to a target, by what is stored of both; nothing is touched.

    `concern`: only those VMs that have one with this code.
    """
    found = given.assessments.list(page, source=source, target=target, name=name, verdict=verdict, concern=concern)
    return PageOf(items=[_assessed(item) for item in found.items], next_cursor=found.next)


def _assessed(item: Assessment) -> AssessmentOut:
    return AssessmentOut(
        vm=Named(id=item.listed.vm.id, name=item.listed.vm.name),
        source=Named(id=item.listed.source_id, name=item.listed.source_name),
        verdict=item.verdict,
        concerns=item.concerns,
        strategy=item.options.strategy,
        transport=item.way.transport,
        transport_reason=item.way.reason,
        converter=item.choice.converter if item.choice else None,
        reason=item.choice.reason if item.choice else "only compat can take it, which is yours to choose",
        hardware=item.hardware,
        disk_bytes=item.listed.vm.disk_bytes,
        seconds=item.seconds,
        pace=item.pace,
    )


def _shown(item: ListedVM) -> InventoryVM:
    source = Named(id=item.source_id, name=item.source_name)
    return InventoryVM(**dict(item.vm), source=source, seen_at=item.seen_at)
