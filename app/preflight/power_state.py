"""A suspended guest has its memory in a file that no other hypervisor can resume."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, PowerState, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if move.vm.power_state is PowerState.SUSPENDED:
        yield Concern(
            code="vm_is_suspended",
            severity="blocker",
            cause=f"{move.vm.name} is suspended: what it has in memory would be lost, its file systems are not clean",
            remedy="Resume it and shut it down, or leave it running.",
        )
