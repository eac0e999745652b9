"""A cold move changes the guest, and the tool that does so must be there."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.conversion import converters_for, parse_version
from app.domain.models import Concern, TargetFacts
from app.domain.move import ConverterName, Move

TOOL = "virt-v2v-in-place"


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    if not move.converts or version(facts):
        return
    choices = converters_for(move.vm, move.options.converter, ())
    if any(choice.converter is ConverterName.VIRT_V2V for choice in choices):
        yield Concern(
            code="converter_missing",
            severity="blocker",
            cause=f"{TOOL} is not installed on the worker of {move.target.name}",
            remedy="Install it (apt install virt-v2v) and check the target again, or choose the strategy disk_only.",
        )


def version(facts: TargetFacts) -> tuple[int, ...]:
    """The version of virt-v2v as numbers; () when it is missing."""
    return parse_version(facts.tools.get(TOOL, ""))
