"""A fault-tolerant VM is two VMs."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if move.vm.fault_tolerance:
        yield Concern(
            code="fault_tolerance_is_on",
            severity="blocker",
            cause=f"Fault Tolerance is on for {move.vm.name}: it is two VMs in step, and vSphere exports neither",
            remedy="Turn Fault Tolerance off: the secondary VM goes away, the primary can be moved.",
        )
