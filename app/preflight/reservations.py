"""What VMware kept for the VM on its host, and what of that a libvirt host keeps."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.hardware.memory import is_reserved
from app.domain.models import Concern, TargetFacts
from app.domain.move import Move, Profile
from app.domain.space import size_text


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    vm = move.vm
    if vm.cpu_reservation_mhz:
        yield Concern(
            code="cpu_reservation_is_lost",
            severity="info",
            cause=f"VMware kept {vm.cpu_reservation_mhz} MHz for {vm.name}: a libvirt host keeps no CPU time",
            remedy="Give it a higher weight (virsh schedinfo), or CPUs of its own with the profile latency.",
        )
    if not vm.memory_reservation_bytes or move.options.profile is Profile.LATENCY:
        return
    if not is_reserved(vm) or move.options.profile is Profile.DENSITY:
        yield Concern(
            code="memory_reservation_is_lost",
            severity="info",
            cause=f"VMware kept {size_text(vm.memory_reservation_bytes)} of memory for {vm.name}: the target does not",
            remedy="Reserve all of its memory to have it locked on the target, with another profile than density.",
        )
    else:
        yield Concern(
            code="memory_is_locked",
            severity="info",
            cause=f"all memory of {vm.name} was reserved: {move.target.name} locks {size_text(vm.memory_bytes)} for it",
            remedy="Take out the reservation, or choose the profile density, to have it shared.",
        )
