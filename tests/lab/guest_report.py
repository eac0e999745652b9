#!/usr/bin/python3
"""Runs inside the lab's guest at boot: writes one JSON line about the machine to the first serial port.

Names of disks are not in it: disks are told by what is on them, and stand in the order in which they are plugged.
"""

import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

# of the files, not of the running systemd: on a busy host without KVM that answers too late
ENABLED = ("systemctl", "--root=/", "list-unit-files", "--state=enabled", "--no-legend", "--plain")
MOUNTS = ("findmnt", "--real", "--noheadings", "--raw", "--output", "TARGET,FSTYPE,UUID")
NETWORK_SECONDS = 30  # some managers are online before the last address is there


def lines(*command: str) -> list[str]:
    return [" ".join(line.split()) for line in subprocess.check_output(command, text=True).splitlines()]


def addresses() -> dict[str, list[str]]:
    """IPv4 addresses with prefix, by interface, without loopback."""
    found: dict[str, list[str]] = {}
    for line in lines("ip", "-o", "-4", "address"):
        _, name, _, cidr, *_ = line.split()
        if name != "lo":
            found.setdefault(name, []).append(cidr)
    return found


def nameservers() -> list[str]:
    """Those that systemd-resolved asks, where it runs; else those that programs ask themselves."""
    files = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
    text = next(file.read_text() for file in files if file.exists())
    return [line.split()[1] for line in text.splitlines() if line.startswith("nameserver")]


def mounts() -> dict[str, list[str]]:
    """Mount point → file system and UUID."""
    return {line.split()[0]: line.split()[1:] for line in lines(*MOUNTS)}


def plugged(block: Path) -> tuple[list[str], list[int]]:
    """Where a disk is plugged: PCI addresses, then host, channel, target and unit."""
    device = (block / "device").resolve()
    scsi = device.name.split(":")
    pci = re.findall(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", str(device))
    return pci, [int(number) for number in scsi] if len(scsi) == 4 else []


def driver(block: Path) -> str:
    """The driver of the bus device that a disk hangs on: vmw_pvscsi, virtio_blk, virtio_scsi, ..."""
    device = (block / "device").resolve()
    for parent in (device, *device.parents):
        bus, bound = parent / "subsystem", parent / "driver"
        if bound.exists() and bus.resolve().name in ("pci", "virtio"):
            return bound.resolve().name
    return ""


def disks() -> list[dict[str, object]]:
    found = [block for block in Path("/sys/block").iterdir() if (block / "device").exists()]
    return [
        {"driver": driver(block), "holds": sorted({*lines("lsblk", "-nro", "UUID", f"/dev/{block.name}")} - {""})}
        for block in sorted(found, key=plugged)
        if not block.name.startswith(("sr", "fd"))
    ]


def main() -> None:
    end = time.monotonic() + NETWORK_SECONDS
    while not lines("ip", "-4", "route", "show", "default") and time.monotonic() < end:
        time.sleep(1)
    mounted = mounts()
    markers = {point: Path("/var/lib/marker" if point == "/" else f"{point}/marker") for point in mounted}
    report = {
        "hostname": os.uname().nodename,
        "addresses": addresses(),
        "macs": {
            nic.name: (nic / "address").read_text().strip()
            for nic in Path("/sys/class/net").iterdir()
            if nic.name != "lo"
        },
        "routes": sorted(lines("ip", "-4", "route")),
        "dns": nameservers(),
        "mounts": mounted,
        "disks": disks(),
        "checksums": {
            point: hashlib.sha256(path.read_bytes()).hexdigest() for point, path in markers.items() if path.exists()
        },
        "services": sorted(line.split()[0] for line in lines(*ENABLED)),
        "machine_id": Path("/etc/machine-id").read_text().strip(),
        "kernel": os.uname().release,
    }
    with open("/dev/ttyS0", "w") as port:
        port.write(f"\nVMFERRY-REPORT {json.dumps(report)}\n")


if __name__ == "__main__":
    main()
