"""A guest whose root is encrypted: nobody types its passphrase when it boots, so its disks are looked at instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.appliance import started
from tests.lab.guest_tree import LUKS_KEY

KEPT = (
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/network/interfaces",
    "/etc/resolv.conf",
)
NEEDED = ("virtio_blk.ko", "virtio_pci.ko", "/cryptsetup")  # in the initramfs
MARKER = "/var/lib/marker"


def look(disks: Sequence[Path], kind: str) -> dict[str, Any]:
    """What has to stay in the guest, and what its initramfs carries of what it needs."""
    with started(disks, kind, readonly=True) as g:
        g.cryptsetup_open("/dev/sda2", LUKS_KEY, "root", readonly=True)
        for device, point in (("/dev/mapper/root", "/"), ("/dev/sda1", "/boot")):
            g.mount(device, point)  # of what is written nothing stays: the drives are read-only
        initramfs = min(g.glob_expand("/boot/initrd.img-*"), key=len)  # virt-v2v keeps a copy of the former
        listing = g.command(["lsinitramfs", initramfs])
        return {
            **{path: g.read_file(path).decode() for path in KEPT},
            MARKER: g.checksum("sha256", MARKER),
            "kernels": g.glob_expand("/boot/vmlinuz-*"),
            "initramfs": [name for name in NEEDED if name in listing],
        }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What has changed, and what the initramfs lacks."""
    found = [
        f"{key}: {before[key]} → {after[key]}" for key in before if key != "initramfs" and before[key] != after[key]
    ]
    if lacking := set(NEEDED) - set(after["initramfs"]):
        found.append(f"the initramfs lacks {', '.join(sorted(lacking))}")
    return found
