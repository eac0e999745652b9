"""What the converters find in a guest, found in a real file system by the real appliance, in one start of it."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from app.domain.models import Concern, Nic
from converters import qcow2
from converters.native import Native
from tests.component.test_guest_conversion import go_on
from tests.concerns import guests
from tests.concerns.entry import OnGuest
from tests.unit.moves import make_vm

MODULES = "usr/lib/modules/6.1/kernel"
FILES = {
    "etc/debian_version": "12.5\n",
    "etc/hostname": "web\n",
    "etc/fstab": "/dev/sda / ext4 defaults 0 1\n/dev/sdb /srv ext4 defaults,nofail 0 2\n",
    "etc/network/interfaces": "auto enp3s0\nauto enp4s0\n",
    "bin/true": "",
    "srv/keep": "",
    "boot/grub/grub.cfg": "linux /boot/vmlinuz-6.1 ro\ninitrd /boot/initrd.img-6.1\n",
    "boot/vmlinuz-6.1": "",
    "boot/efi/EFI/odd/odd.efi": "",
    "usr/bin/vmtoolsd": "",
    "usr/lib/systemd/systemd-udevd": "",
}
RAISED = {
    "guest_agent_missing",
    "mount_by_device",
    "nic_name_unknown",
    "uefi_loader_unknown",
    "vmware_tools_left",
}


def test_a_real_guest_raises_them(tmp_path: Path) -> None:
    vm = make_vm(nics=(Nic(key=4000, label="n", mac="00:50:56:8a:50:10", network="lan", slot=192),))
    found = Native().convert(vm, [system(tmp_path), empty(tmp_path)], cancel=go_on, log=print).concerns
    assert {concern.code for concern in found} == RAISED
    assert {concern.code: concern.severity for concern in found} == {
        entry.code: told(entry).severity for entry in guests.ENTRIES if entry.code in RAISED
    }


def told(entry: OnGuest) -> Concern:
    (concern,) = {concern.code: concern for concern in entry.convert()}.values()
    return concern


def system(folder: Path) -> Path:
    """A disk that is one ext4 with FILES and an initramfs that has virtio."""
    root = folder / "root"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "boot/initrd.img-6.1").write_bytes(initramfs(folder / "initramfs"))
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(folder / "0.raw"), "64M"], check=True, capture_output=True
    )
    qcow2.create_overlay(folder / "0.qcow2", folder / "0.raw", "raw")
    return folder / "0.qcow2"


def initramfs(folder: Path) -> bytes:
    for name in ("virtio_blk", "virtio_pci"):
        (folder / MODULES).mkdir(parents=True, exist_ok=True)
        (folder / MODULES / f"{name}.ko").touch()
    listing = "".join(f"{MODULES}/{path.name}\n" for path in sorted((folder / MODULES).iterdir()))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], cwd=folder, input=listing.encode(), check=True, capture_output=True
    )
    return gzip.compress(packed.stdout)


def empty(folder: Path) -> Path:
    """A disk of which nothing says what is on it: it has no UUID."""
    qcow2.create(folder / "1.qcow2", 8 << 20)
    return folder / "1.qcow2"
