"""Host devices stay where they are."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Move, TargetFacts


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if move.vm.passthrough:
        yield Concern(
            code="passthrough_device",
            severity="blocker",
            cause=f"{move.vm.name} uses devices of its host, which would be missing: {', '.join(move.vm.passthrough)}",
            remedy="Remove these devices from the VM; after the move, assign the target's own ones.",
        )
