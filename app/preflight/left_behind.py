"""Devices that no libvirt guest gets from here, and that a server rarely misses."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if move.vm.left_behind:
        yield Concern(
            code="devices_left_behind",
            severity="info",
            cause=f"{move.vm.name} will be without: {', '.join(move.vm.left_behind)}",
            remedy="If the guest needs one of them, add it after the move (virsh edit).",
        )
