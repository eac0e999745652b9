"""Proof that the guest is what it claims to be: it boots on VMware's devices, and unconverted not on virtio."""

import hashlib
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.cache import locked
from tests.lab.guest import REPORT_PREFIX, Guest
from tests.lab.recipes import DEBIAN12

BOOT_TIMEOUT = 420  # seconds; without KVM a boot takes one to two minutes
MOST_BOOTS = 4  # of a guest that mounts by /dev/sd…: Linux gives the names in the order in which disks answer
STOPPED = "ALERT!"  # what an initramfs says when it does not find the root file system


@dataclass(frozen=True)
class Proof:
    """report: what the guest said of itself on VMware's devices. virtio: the end of its console on virtio-blk,
    where that was tried."""

    report: dict[str, Any]
    virtio: str
    seconds: dict[str, float]


def prove(guest: Guest) -> Proof:
    """Boot the guest under QEMU, or give the result of the last time. RuntimeError when it is not as claimed.

    That it does not boot on virtio is proved of the usual guest.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    kept = guest.directory / "proof.json"
    with locked(guest.directory / "proof.lock"):
        if kept.exists() and (found := json.loads(kept.read_text())).pop("recipe") == recipe:
            return Proof(**found)
        start = time.monotonic()
        with_kernel = boot_directly(guest)
        report = _report_on_vmware(guest, with_kernel)
        middle = time.monotonic()
        virtio = ""
        if guest.recipe == DEBIAN12:
            virtio = watch([*machine(), *disks(guest, "virtio"), *with_kernel], STOPPED)
            if REPORT_PREFIX in virtio:
                raise RuntimeError("the unconverted guest boots on virtio")
        seconds = {"vmware": round(middle - start, 1), "virtio": round(time.monotonic() - middle, 1)}
        proof: dict[str, Any] = {"report": report, "virtio": virtio[-2000:], "seconds": seconds}
        part = kept.with_suffix(".part")
        part.write_text(json.dumps({**proof, "recipe": recipe}, indent=1))
        part.rename(kept)
        return Proof(**proof)


def _report_on_vmware(guest: Guest, with_kernel: list[str]) -> dict[str, Any]:
    # the boot entry of one with UEFI would be in a NVRAM that is not here
    vmware = with_kernel if guest.recipe.firmware == "efi" else []
    for _ in range(MOST_BOOTS if guest.recipe.by_device else 1):
        console = watch([*machine(), *disks(guest, "pvscsi"), *vmware_nic(guest), *vmware], REPORT_PREFIX)
        report = read_report(console)
        if report["checksums"] == guest.markers:
            return report
    raise RuntimeError(f"the guest has not mounted its disks where they belong: {report['mounts']}")


def read_report(console: str) -> dict[str, Any]:
    """The self-report in what a guest wrote to its serial port; ValueError when there is none."""
    for line in console.splitlines():
        if line.startswith(REPORT_PREFIX):
            report: dict[str, Any] = json.loads(line.removeprefix(REPORT_PREFIX))
            return report
    raise ValueError("no self-report")


def machine() -> list[str]:
    """A PC without devices of its own, whose PCI slots have the numbers that VMware's firmware would give."""
    slots = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"
    computer = ["-nodefaults", "-machine", "q35", "-global", slots, "-accel", "tcg", "-cpu", "max"]
    return ["qemu-system-x86_64", *computer, "-m", "1024", "-vga", "std", "-display", "none", "-no-reboot"]


def disks(guest: Guest, bus: str) -> list[str]:
    """The guest's disks on a bus; what is written to them is thrown away."""
    argv = []
    for controller in range(guest.recipe.controllers if bus == "pvscsi" else 0):
        argv += ["-device", f"pvscsi,id=scsi{controller}"]
    for number, path in enumerate(guest.disks):
        file = str(path).replace(",", ",,")
        argv += ["-drive", f"if=none,id=d{number},format=raw,snapshot=on,file={file}"]
        device = f"scsi-hd,bus=scsi{guest.bus(number)}.0,scsi-id={number}" if bus == "pvscsi" else "virtio-blk-pci"
        argv += ["-device", f"{device},drive=d{number},bootindex={number + 1}"]
    return argv


def boot_directly(guest: Guest) -> list[str]:
    """The guest's own kernel and initramfs, with a serial console."""
    kernel, initramfs = guest.boot
    root = "/dev/mapper/system-root" if guest.recipe.lvm else f"UUID={guest.root_uuid}"
    append = f"root={root} ro console=ttyS0 rootdelay=5"
    return ["-kernel", str(kernel), "-initrd", str(initramfs), "-append", append]


def vmware_nic(guest: Guest) -> list[str]:
    """A VMXNET3 card in the slot that makes its name."""
    port = f"pcie-root-port,id=root-port,slot={guest.slot},chassis=2"
    card = f"vmxnet3,netdev=net,bus=root-port,mac={guest.mac}"
    return ["-netdev", "user,id=net,restrict=on", "-device", port, "-device", card]


def watch(argv: list[str], text: str) -> str:
    """Run a machine until its serial port has shown a whole line with the text; everything that it showed."""
    with tempfile.TemporaryDirectory() as work:
        serial, errors = Path(work) / "serial", Path(work) / "errors"
        serial.touch()
        with errors.open("wb") as log:
            process = subprocess.Popen([*argv, "-serial", f"file:{serial}"], stdin=subprocess.DEVNULL, stderr=log)
        try:
            end = time.monotonic() + BOOT_TIMEOUT
            while time.monotonic() < end and process.poll() is None:
                console = serial.read_text(errors="replace")
                if "\n" in console.partition(text)[2]:
                    return console
                time.sleep(0.5)
            raise RuntimeError(f"{text!r} not seen; {errors.read_text()[-500:]}\n{serial.read_text()[-2000:]}")
        finally:
            process.kill()
            process.wait()
