"""What the converter needs for this guest, as far as vSphere's guest id tells."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.conversion import converters_for, is_known, is_windows
from app.domain.models import Concern, TargetFacts
from app.domain.move import ConverterName, Move
from app.preflight.converter import version

COMPAT = "Ask for the converter compat: it leaves the disks as they are, on SATA and e1000e."


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    vm, wanted = move.vm, move.options.converter
    said = vm.guest_name or vm.guest_id or "not known"
    if not move.boots:
        return
    if wanted is ConverterName.COMPAT:
        yield Concern(
            code="compat_hardware",
            severity="warning",
            cause=f"{vm.name} stays unconverted: SATA and e1000e are slower than virtio, and its network cards may get"
            " other names, by which a static address is lost",
            remedy="Once it runs, install virtio drivers in it, and change its hardware with virsh edit.",
        )
    elif not converters_for(vm, wanted, version(facts)):
        yield Concern(
            code="guest_needs_compat",
            severity="blocker",
            cause=f"the guest system of {vm.name} is {said}, and no converter changes that for virtio",
            remedy=COMPAT,
        )
    elif is_windows(vm) and wanted is ConverterName.NATIVE:
        yield Concern(
            code="native_is_for_linux",
            severity="blocker",
            cause=f"{vm.name} runs Windows ({said}), and the converter native changes Linux only",
            remedy="Leave the choice of the converter to vmferry.",
        )
    elif not is_known(vm):
        yield Concern(
            code="guest_may_not_convert",
            severity="warning",
            cause=f"the guest system of {vm.name} is {said}: it may be one that no converter can change",
            remedy=f"If the conversion fails, all is undone. {COMPAT}",
        )
