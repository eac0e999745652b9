"""Host devices stay where they are: the user says which ones of the target take their place."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.errors import InvalidRequest
from app.domain.hostdevs import GRAMMAR, parse, parse_card
from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    vm, given = move.vm, move.options.hostdevs
    if missing := [label for label in vm.passthrough if label not in given]:
        yield Concern(
            code="passthrough_device",
            severity="blocker",
            cause=f"{vm.name} uses devices of its host, which would be missing: {', '.join(missing)}",
            remedy=f"Say for each what it gets on the target: --hostdev '{missing[0]}=…', {GRAMMAR}.",
        )
    if unknown := [label for label in given if label not in vm.passthrough]:
        yield Concern(
            code="hostdev_unknown",
            severity="blocker",
            cause=f"{vm.name} has no device of its host named {', '.join(unknown)}",
            remedy=f"Its devices are: {', '.join(vm.passthrough) or 'none'}.",
        )
    taken: set[str] = set()
    for label in vm.passthrough:
        if label in given:
            yield from _given(move, facts, label, taken)


def _given(move: Move, facts: TargetFacts, label: str, taken: set[str]) -> Iterable[Concern]:
    text, is_card = move.options.hostdevs[label], any(nic.label == label for nic in move.vm.nics)
    try:
        address = parse_card(text) if is_card else _address(text)
    except InvalidRequest as error:
        cause = f"{label}: {error.message}"
        yield Concern(code="hostdev_invalid", severity="blocker", cause=cause, remedy=error.remedy)
        return
    if address:
        yield from _on_target(move, facts, label, address, taken)
    else:
        yield Concern(
            code="passthrough_left_behind",
            severity="info",
            cause=f"{move.vm.name} will be without {label}, as you said",
            remedy="Have the guest ready for that: a driver without its device may hold up its start.",
        )


def _address(text: str) -> str:
    device = parse(text)
    return device.address if device else ""


def _on_target(move: Move, facts: TargetFacts, label: str, address: str, taken: set[str]) -> Iterable[Concern]:
    target, known = move.target.name, facts.host.devices
    if address not in known:
        yield Concern(
            code="hostdev_missing",
            severity="blocker",
            cause=f"{target} has no device {address} for {label}",
            remedy="Look for it in /sys/bus/pci/devices or /sys/bus/mdev/devices there, and check the target again.",
        )
    elif not known[address]:
        yield Concern(
            code="hostdev_without_iommu",
            severity="blocker",
            cause=f"{address} of {target} is in no IOMMU group, so that no guest can have it",
            remedy="Turn on VT-d or AMD-Vi in the firmware, and intel_iommu=on on the kernel's command line.",
        )
    users = [domain.name for domain in facts.domains if domain.job != move.job_id and address in domain.hostdevs]
    if users or address in taken:
        yield Concern(
            code="hostdev_in_use",
            severity="blocker",
            cause=f"{address} of {target} is given to {', '.join(users) or 'another device of this VM'} already",
            remedy=f"Take it from there, or give {label} another one.",
        )
    taken.add(address)
