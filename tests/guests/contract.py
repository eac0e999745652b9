"""What a guest was before its move and what it is after it, both in its own words."""

from __future__ import annotations

from typing import Any

SAME = ("hostname", "addresses", "macs", "routes", "dns", "checksums", "services", "machine_id", "kernel")
VMWARES = {"open-vm-tools.service", "vgauth.service", "vmtoolsd.service"}
VIRT_V2VS = {"guestfs-firstboot.service"}  # it runs once what virt-v2v left to be done in the guest


OF_THE_CARDS = ("addresses", "macs", "routes")  # unconverted, a guest has other ones


def differences(before: dict[str, Any], after: dict[str, Any], *, converted: bool = True) -> list[str]:
    """Each thing that is not as it was, as "what: before → after".

    What belongs to VMware's tools may go, and virt-v2v's own service may come.
    """
    found = []
    for key in SAME if converted else [key for key in SAME if key not in OF_THE_CARDS]:
        old, new = _bare(before[key]), _bare(after[key])
        if old != new:
            found.append(f"{key}: {old} → {new}")
    if sorted(before["mounts"]) != sorted(after["mounts"]):
        found.append(f"mounts: {sorted(before['mounts'])} → {sorted(after['mounts'])}")
    disks = {device.rpartition("/")[2].rstrip("0123456789") for device in after["mounts"].values()}
    drivers = {after["block_drivers"].get(disk) for disk in disks}
    if drivers != ({"virtio_blk"} if converted else {"ahci"}):
        found.append(f"block drivers: {after['block_drivers']}")
    return found


def _bare(value: Any) -> Any:
    return [item for item in value if item not in VMWARES | VIRT_V2VS] if isinstance(value, list) else value
