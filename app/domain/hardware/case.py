"""What the rules of the hardware table are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from app.domain.host import Host
from app.domain.models import VM
from app.domain.move import Move, Profile

MOST_VIRTIO_BLK = 16  # each takes a PCI port of its own; more than that go to virtio-scsi controllers


class Buses(NamedTuple):
    disk: Literal["virtio", "scsi", "sata"]
    letters: Literal["vd", "sd"]
    nic: Literal["virtio", "e1000e"]


class Case(NamedTuple):
    move: Move
    disk_paths: Sequence[str]
    domain_uuid: str
    accelerator: Literal["kvm", "tcg"]
    serial_log: str
    has_tpm: bool  # whether the target's host can emulate one
    host: Host = Host()
    taken: frozenset[int] = frozenset()  # the host's CPUs that other domains are pinned to

    @property
    def vm(self) -> VM:
        return self.move.vm

    @property
    def profile(self) -> Profile:
        return self.move.options.profile

    @property
    def grows(self) -> bool:
        """Whether CPUs and memory can be added: those of a VM with latency are counted out beforehand."""
        return self.profile is not Profile.LATENCY

    @property
    def buses(self) -> Buses:
        if not self.move.converts:
            return Buses(disk="sata", letters="sd", nic="e1000e")
        if len(self.vm.disks) > MOST_VIRTIO_BLK:
            return Buses(disk="scsi", letters="sd", nic="virtio")
        return Buses(disk="virtio", letters="vd", nic="virtio")
