"""A template cannot be moved: it has no power state to restore and no guest to look at."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if move.vm.template:
        yield Concern(
            code="vm_is_template",
            severity="blocker",
            cause=f"{move.vm.name} is a template: it cannot be started, so nothing shows whether its guest works",
            remedy="Deploy a VM from it, or convert it to a VM, and move that.",
        )
