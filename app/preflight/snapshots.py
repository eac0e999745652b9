"""An export carries the current state of each disk, not the snapshots behind it."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if count := len(move.vm.snapshots):
        yield Concern(
            code="snapshots_are_flattened",
            severity="info",
            cause=f"{move.vm.name} has {count} snapshot{'s' if count > 1 else ''}: only the current state moves",
            remedy="The source keeps them.",
        )
