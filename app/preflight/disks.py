"""Disks that an export leaves out, cannot read, or would tear out of a cluster."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Disk, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if not move.vm.disks:
        yield Concern(
            code="vm_has_no_disks",
            severity="blocker",
            cause=f"{move.vm.name} has no disks",
            remedy="There is nothing to move: create the VM anew on the target.",
        )
    for disk in move.vm.disks:
        yield from _check(disk)


def _check(disk: Disk) -> Iterable[Concern]:
    where = f"{disk.label} ({disk.path})" if disk.path else disk.label
    if disk.backing.startswith("rdm_"):
        yield Concern(
            code="disk_is_rdm",
            severity="blocker",
            cause=f"{where} is a raw device mapping: an export does not carry it",
            remedy="Convert it to a virtual disk by Storage vMotion, or detach it and give the LUN to the target.",
        )
    elif disk.backing not in ("flat", "sparse"):
        yield Concern(
            code="disk_backing_unknown",
            severity="blocker",
            cause=f"{where} is no file that an export can carry: it lies in persistent memory, or as some other kind",
            remedy="Move it to a datastore as an ordinary virtual disk first.",
        )
    if disk.mode.startswith("independent"):
        yield Concern(
            code="disk_is_independent",
            severity="blocker",
            cause=f"{where} is {disk.mode.replace('_', ' ')}: snapshots and backups leave it out",
            remedy="Set its mode to Dependent while the VM is off.",
        )
    if disk.sharing != "none":
        yield Concern(
            code="disk_is_shared",
            severity="blocker",
            cause=f"{where} is shared with other VMs ({disk.sharing.replace('_', ' ')}): copies would part",
            remedy="Move a cluster's data by its own means, or detach the shared disk.",
        )
    if disk.encrypted:
        yield Concern(
            code="disk_is_encrypted",
            severity="blocker",
            cause=f"{where} is encrypted by vSphere",
            remedy="Decrypt it: give the disk a storage policy without encryption.",
        )
