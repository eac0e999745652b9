"""What stays off after the move is not seen to boot."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if not move.runs_after():
        yield Concern(
            code="boot_not_checked",
            severity="info",
            cause=f"{move.vm.name} will stay off on {move.target.name}: whether it boots there is not checked",
            remedy="" if not move.boots else "Ask for it to be started (power_on) to have that checked.",
        )
