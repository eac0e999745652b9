"""What the converter needs for this guest, as far as vSphere's guest id tells."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Move, TargetFacts

DRIVERS = "virtio-win"
_CONVERTIBLE = (
    "almalinux",
    "amazonlinux",
    "centos",
    "debian",
    "fedora",
    "opensuse",
    "oraclelinux",
    "rhel",
    "rockylinux",
    "sles",
    "suse",
    "ubuntu",
)


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    if not move.converts:
        return
    guest = move.vm.guest_id.lower()
    said = move.vm.guest_name or move.vm.guest_id or "not known"
    if guest.startswith("win"):
        if DRIVERS not in facts.tools:
            yield Concern(
                code="virtio_win_missing",
                severity="blocker",
                cause=f"{move.vm.name} runs Windows ({said}), and the virtio-win drivers are not on the worker",
                remedy="Set VMFERRY_VIRTIO_WIN to the virtio-win ISO or folder and check the target again.",
            )
    elif not guest.startswith(_CONVERTIBLE):
        yield Concern(
            code="guest_may_not_convert",
            severity="warning",
            cause=f"the guest system of {move.vm.name} is {said}: virt-v2v may not be able to convert it",
            remedy="If the conversion fails, all is undone; the strategy disk_only moves the disks as they are.",
        )
