"""The order in which firmware and guest count the disks of a VM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.models import Disk

_FAMILY = {"pvscsi": "scsi", "lsilogic": "scsi", "lsisas": "scsi", "buslogic": "scsi", "ahci": "sata"}
_ORDER = ("scsi", "nvme", "sata", "ide")  # as virt-v2v numbers them


def family(controller: str) -> str:
    """scsi, sata, nvme or ide: bus numbers are unique within one. What is unknown is its own family."""
    return _FAMILY.get(controller, controller)


def in_order(disks: Iterable[Disk], boot_keys: Sequence[int] = ()) -> tuple[Disk, ...]:
    """An explicit boot order first, then by family, bus and unit."""

    def place(disk: Disk) -> tuple[int, int, int, int, int]:
        boot = boot_keys.index(disk.key) if disk.key in boot_keys else len(boot_keys)
        name = family(disk.controller)
        return boot, _ORDER.index(name) if name in _ORDER else len(_ORDER), disk.bus, disk.unit, disk.key

    return tuple(sorted(disks, key=place))
