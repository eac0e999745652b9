"""Disks and drives, in the guest's order."""

from __future__ import annotations

import string
from typing import Any

from app.domain.hardware.case import Case
from app.domain.hardware.model import TargetDisk
from app.domain.move import Profile

MOST_THREADS = 4


def disks(case: Case) -> dict[str, Any]:
    """In the source's order, each with its limit of operations a second: virtio-blk; virtio-scsi when there are many;
    SATA for a guest without virtio. With latency past the host's page cache.
    """
    return {"disks": tuple(_disk(case, index) for index in range(len(case.disk_paths)))}


def threads(case: Case) -> dict[str, Any]:
    """With latency, virtio disks are served by threads of their own."""
    return {"io_threads": _threads(case)}


def drives(case: Case) -> dict[str, Any]:
    """As many CD-ROM drives, empty, on SATA."""
    taken = 0 if case.buses.letters == "vd" else len(case.vm.disks)
    return {"cdroms": tuple(device_name("sd", taken + index) for index in range(case.vm.cdroms))}


def device_name(prefix: str, index: int) -> str:
    """vda … vdz, vdaa …: VMware allows 256 disks."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = string.ascii_lowercase[rest] + letters
    return prefix + letters


def _threads(case: Case) -> int:
    if case.profile is not Profile.LATENCY or case.buses.disk == "sata":
        return 0
    return 1 if case.buses.disk == "scsi" else min(MOST_THREADS, len(case.disk_paths))  # of scsi the controller has one


def _disk(case: Case, index: int) -> TargetDisk:
    image, threads = case.move.target.image, _threads(case)
    return TargetDisk(
        path=case.disk_paths[index],
        format=image.format,
        discard=image.discard,
        bus=case.buses.disk,
        device=device_name(case.buses.letters, index),
        serial=f"{case.domain_uuid.replace('-', '')[:16]}-{index}",  # the VM's, not the job's: the same after a retry
        iops_limit=case.vm.disks[index].iops_limit,
        direct=case.profile is Profile.LATENCY,
        thread=index % threads + 1 if threads and case.buses.disk == "virtio" else None,
    )
