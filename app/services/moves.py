"""The move that a request describes, as preflight and the hardware table judge it."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import Conflict
from app.domain.models import VM, TargetFacts, TargetSpec
from app.domain.move import Move, MoveOptions, Reservation
from app.domain.registered import RegisteredTarget


def planned(job_id: str, vm: VM, to: RegisteredTarget, options: MoveOptions, reserved: Sequence[Reservation]) -> Move:
    target = TargetSpec(
        id=to.id, name=to.name, kind=to.kind, uri=to.uri, pool=to.pool, image=to.image, networks=to.networks
    )
    return Move.of(job_id, vm, target, options, reserved)


def facts_of(to: RegisteredTarget) -> TargetFacts:
    """Raises Conflict for a target that was never looked at."""
    if to.facts is None:
        raise Conflict(
            f"target {to.name} has not been looked at yet", f"Check it first: POST /v1/targets/{to.id}/check."
        )
    return to.facts
