"""A cold move changes the guest, and the tool that does so must be there."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Move, TargetFacts

TOOL = "virt-v2v-in-place"


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    if move.converts and TOOL not in facts.tools:
        yield Concern(
            code="converter_missing",
            severity="blocker",
            cause=f"{TOOL} is not installed on the worker of {move.target.name}",
            remedy="Install it (apt install virt-v2v) and check the target again, or choose the strategy disk_only.",
        )


def version(facts: TargetFacts) -> tuple[int, ...]:
    """The converter's version as numbers; () when it is not known."""
    parts = facts.tools.get(TOOL, "").split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
