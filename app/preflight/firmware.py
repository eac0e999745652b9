"""UEFI guests: older virt-v2v find no boot loader in some of them."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.conversion import converters_for
from app.domain.models import Concern, TargetFacts
from app.domain.move import ConverterName, Move
from app.preflight.converter import version


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    if not move.converts or not version(facts) or move.options.converter is not ConverterName.VIRT_V2V:
        return
    automatic = converters_for(move.vm, None, version(facts))
    if automatic and automatic[0].converter is ConverterName.NATIVE:
        yield Concern(
            code="native_is_better",
            severity="warning",
            cause=f"{move.vm.name} shall be converted by virt-v2v, but {automatic[0].reason}",
            remedy="Leave the choice of the converter to vmferry: native takes this guest.",
        )
