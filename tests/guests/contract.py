"""What a guest was before its move and what it is after it, both in its own words."""

from __future__ import annotations

from typing import Any

SAME = (
    *("hostname", "machine_id", "kernel", "services"),
    *("addresses", "macs", "routes", "dns"),
    *("mounts", "checksums"),
)
OF_THE_CARDS = ("addresses", "macs", "routes", "dns")  # unconverted, a guest has other cards, which it does not set up
VMWARES = {"open-vm-tools.service", "vgauth.service", "vmtoolsd.service"}
VIRT_V2VS = {"guestfs-firstboot.service"}  # it runs once what virt-v2v left to be done in the guest


def differences(before: dict[str, Any], after: dict[str, Any], *, converted: bool = True) -> list[str]:
    """Each thing that is not as it was, as "what: before → after".

    What belongs to VMware's tools may go, and virt-v2v's own service may come. The disks are compared in the order in
    which they are plugged, by what is on them.
    """
    found = []
    for key in SAME if converted else [key for key in SAME if key not in OF_THE_CARDS]:
        old, new = _bare(before[key]), _bare(after[key])
        if old != new:
            found.append(f"{key}: {old} → {new}")
    old, new = ([disk["holds"] for disk in report["disks"]] for report in (before, after))
    if old != new:
        found.append(f"order of the disks: {old} → {new}")
    drivers = {disk["driver"] for disk in after["disks"]}
    if drivers != ({"virtio_blk"} if converted else {"ahci"}):
        found.append(f"drivers of the disks: {sorted(drivers)}")
    return found


def _bare(value: Any) -> Any:
    return [item for item in value if item not in VMWARES | VIRT_V2VS] if isinstance(value, list) else value
