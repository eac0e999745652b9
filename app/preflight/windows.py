"""What virt-v2v needs for a Windows guest: the drivers of its version, and what installs the rest at first boot."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.conversion import is_windows
from app.domain.hardware.case import MOST_VIRTIO_BLK
from app.domain.models import Concern, TargetFacts
from app.domain.move import ConverterName, Move
from app.domain.windows import BLOCK_DRIVER_SINCE, architecture, drivers_for
from app.preflight.converter import version

DRIVERS = "virtio-win"
COMPAT = "or ask for the converter compat: its disks stay as they are, on SATA."


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    vm, found = move.vm, facts.windows
    if not move.converts or not is_windows(vm) or move.options.converter is ConverterName.NATIVE:
        return
    said = vm.guest_name or vm.guest_id
    wanted = drivers_for(vm, version(facts))
    if DRIVERS not in facts.tools:
        yield Concern(
            code="virtio_win_missing",
            severity="blocker",
            cause=f"{vm.name} runs Windows ({said}), and the virtio-win drivers are not on the worker",
            remedy="Set VMFERRY_VIRTIO_WIN to the virtio-win ISO or folder and check the target again.",
        )
        return
    if wanted and not set(wanted) & set(found.drivers):
        yield Concern(
            code="virtio_win_lacks_guest",
            severity="blocker",
            cause=f"{vm.name} runs Windows ({said}), and {facts.tools[DRIVERS]} has no viostor and NetKVM for it "
            f"({' or '.join(wanted)}); it has {', '.join(found.drivers) or 'none for any Windows'}",
            remedy=f"Set VMFERRY_VIRTIO_WIN to a virtio-win that has them and check the target again, {COMPAT}",
        )
    if not found.runner:
        yield Concern(
            code="windows_runner_missing",
            severity="blocker",
            cause=f"{vm.name} runs Windows, and virt-v2v has nothing here that finishes the work at its first boot",
            remedy="Put rhsrvany.exe (github.com/rwmjones/rhsrvany) into /usr/share/virt-tools and check the target"
            f" again, {COMPAT}",
        )
    if architecture(vm) not in found.agents:
        yield Concern(
            code="windows_agent_missing",
            severity="info",
            cause=f"{facts.tools[DRIVERS]} has no QEMU guest agent for {vm.name}: it is not asked to freeze its file"
            " systems, nor for its addresses",
            remedy="Put qemu-ga-x86_64.msi beside the drivers, or install it in the guest after the move.",
        )
    if len(vm.disks) > MOST_VIRTIO_BLK and version(facts) < BLOCK_DRIVER_SINCE:
        yield Concern(
            code="windows_disks_need_newer_virt_v2v",
            severity="blocker",
            cause=f"{vm.name} has {len(vm.disks)} disks, which go to virtio-scsi, and Windows boots from that only"
            " when virt-v2v 2.4 or newer has converted it",
            remedy=f"Install a newer virt-v2v on the worker, {COMPAT}",
        )
