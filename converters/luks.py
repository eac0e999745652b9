"""Encrypted disks, opened in the libguestfs appliance with the keys that the user gave. The keys stay in its memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.guest_files import Refused

ANY = "all"  # a key for whatever has none of its own
ENCRYPTED = ("crypto_LUKS", "BitLocker")


def unlock(g: Any, keys: Mapping[str, str]) -> None:
    """Open what the keys are for: device or LUKS UUID → key. Raises Refused for a key that does not open its disk."""
    opened = False
    for device in locked(g) if keys else ():
        uuid = g.luks_uuid(device) if g.vfs_type(device) == ENCRYPTED[0] else ""
        key = keys.get(device) or keys.get(uuid) or keys.get(ANY)
        if not key:
            continue
        try:
            g.cryptsetup_open(device, key, f"luks-{uuid}" if uuid else "vmferry" + "".join(filter(str.isalnum, device)))
        except RuntimeError as error:
            raise Refused(
                "locked",
                f"the key that was given for {device} does not open it",
                "Submit the VM again with the right one: --luks-key.",
            ) from error
        opened = True
    if opened:
        g.lvm_scan(True)


def locked(g: Any) -> list[str]:
    """The encrypted devices, opened or not."""
    devices = (*g.list_devices(), *g.list_partitions(), *g.lvs())
    return [str(device) for device in devices if g.vfs_type(device) in ENCRYPTED]


def no_system(g: Any) -> Refused:
    """The error for disks on which no system was found."""
    if devices := locked(g):
        return Refused(
            "locked",
            f"no operating system was found on the disks, and {', '.join(devices)} is encrypted",
            "Give its key: --luks-key all=FILE. Or use the converter compat.",
        )
    return Refused("unsupported", "no operating system was found on the disks", "Use the converter compat.")
