"""Which way the disks of a VM will probably be read, as far as it tells before anyone tries one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.models import FILE_KINDS, VM, Disk, SourceKind, Transport, Way


def likely_way(kind: SourceKind, vm: VM) -> Way:
    """What a move tries first; whether it works shows only when the VM is off."""
    if kind in FILE_KINDS:
        return Way(transport=Transport.FILE, usable=True, reason="its files are read where they lie")
    if not vm.snapshots and vm.change_tracking:
        reason = "its changes are tracked, so that only what is allocated is read, in ranges"
        return Way(transport=Transport.HTTPS, usable=True, reason=reason)
    if not vm.snapshots and mostly_thick(vm.disks):
        return Way(transport=Transport.HTTPS, usable=True, reason="its disks are thick, and come in ranges")
    reason = "the files of a VM with snapshots cannot be read" if vm.snapshots else "an export leaves out its zeros"
    return Way(transport=Transport.NFC, usable=True, reason=reason)


def mostly_thick(disks: Sequence[Disk]) -> bool:
    thin = sum(disk.capacity_bytes for disk in disks if disk.thin)
    return sum(disk.capacity_bytes for disk in disks) >= 2 * thin
