"""A VM that is on is shut down through VMware Tools; the plug is pulled only when the user said so."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, PowerState, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    vm = move.vm
    if vm.power_state is not PowerState.ON or vm.tools == "running":
        return
    tools = vm.tools.replace("_", " ")
    if move.options.force_power_off:
        yield Concern(
            code="power_off_is_hard",
            severity="warning",
            cause=f"{vm.name} is on and its VMware Tools are {tools}: it will be powered off hard, as you allowed",
            remedy="Shut it down yourself first to have its file systems clean.",
        )
    else:
        yield Concern(
            code="tools_not_running",
            severity="blocker",
            cause=f"{vm.name} is on and its VMware Tools are {tools}: it cannot be asked to shut down",
            remedy="Shut it down yourself, start VMware Tools in it, or allow a hard power-off (force_power_off).",
        )
