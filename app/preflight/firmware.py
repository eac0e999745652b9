"""UEFI guests: older virt-v2v find no boot loader in some of them."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Move, TargetFacts
from app.preflight.converter import version

FIXED_IN = (2, 12)


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    found = version(facts)
    if move.converts and move.vm.firmware == "efi" and found and found < FIXED_IN:
        yield Concern(
            code="efi_with_old_converter",
            severity="warning",
            cause=f"{move.vm.name} boots by UEFI; virt-v2v {'.'.join(map(str, found))} converts only some such guests",
            remedy="If the conversion fails, all is undone; virt-v2v 2.12 and later convert more of them.",
        )
