"""The lab's RPM guest, its root on LUKS: converted by the real virt-v2v and by native with its key; boot unproven."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from app.domain.errors import DiskLocked
from app.domain.models import VM, GuestReport, Nic
from app.ports.converter import Converter
from converters import qcow2
from converters.native import Native
from converters.virt_v2v import VirtV2vInPlace
from tests.lab.looking import opened
from tests.lab.rpm_guest import CALLS, HOSTNAME, INITRAMFS, KERNEL, LUKS_KEY, LUKS_UUID, build_rpm_guest
from tests.unit.moves import make_vm

MOUNTS = (("/dev/mapper/root", "/"), ("/dev/sda1", "/boot"))
SCRIPTS = "/usr/lib/virt-sysprep/scripts"


class Result(NamedTuple):
    report: GuestReport
    fstab: str
    crypttab: str
    calls: str  # what was run in the guest
    first_boot: str
    initramfs: list[str]
    boot_uuid: str


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


def prepare(folder: Path) -> tuple[VM, Path]:
    guest = build_rpm_guest()
    disk = folder / "rpm.qcow2"
    qcow2.create_overlay(disk, guest.disk, "raw")
    nic = Nic(key=1, label="n", mac=guest.mac, network="VM Network", slot=guest.slot)
    return make_vm(guest_id="fedora64Guest", nics=(nic,), disks=make_vm().disks[:1]), disk


def convert(converter: Converter, folder: Path, keys: dict[str, str]) -> Result:
    vm, disk = prepare(folder)
    report = converter.convert(vm, [disk], keys=keys, cancel=go_on, log=print)
    with opened(disk, MOUNTS, ("/dev/sda2", LUKS_KEY)) as g:
        scripts = g.glob_expand(f"{SCRIPTS}/*")
        return Result(
            report,
            g.read_file("/etc/fstab").decode(),
            g.read_file("/etc/crypttab").decode(),
            g.read_file(CALLS).decode(),
            "\n".join(g.read_file(path).decode() for path in scripts),
            list(g.initrd_list(INITRAMFS)),
            g.vfs_uuid("/dev/sda1"),
        )


@pytest.fixture(scope="module")
def by_virt_v2v(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return convert(VirtV2vInPlace(), tmp_path_factory.mktemp("virt-v2v"), {"all": LUKS_KEY})


@pytest.fixture(scope="module")
def by_native(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return convert(Native(), tmp_path_factory.mktemp("native"), {LUKS_UUID: LUKS_KEY})


@pytest.mark.parametrize("made", ["by_virt_v2v", "by_native"])
def test_the_guest_behind_the_key_is_ready_for_virtio(made: str, request: pytest.FixtureRequest) -> None:
    result: Result = request.getfixturevalue(made)
    assert (result.report.os, result.report.hostname) == ("fedora39", HOSTNAME)
    assert set(result.report.nic_names.values()) == {"ens192"}
    for driver in ("virtio_blk", "virtio_pci"):
        assert any(name.endswith(f"/{driver}.ko") for name in result.initramfs)
    assert result.crypttab == f"luks-{LUKS_UUID} UUID={LUKS_UUID} none\n"
    assert f"/dev/mapper/luks-{LUKS_UUID} / ext4" in result.fstab
    assert "/dev/sda" not in result.fstab


def test_virt_v2v_has_dracut_make_the_initramfs_anew(by_virt_v2v: Result) -> None:
    assert f"{INITRAMFS} {KERNEL}\n" in by_virt_v2v.calls
    assert "--add-drivers virtio_blk virtio_scsi virtio_net virtio_pci" in by_virt_v2v.calls
    assert "/dev/vda1 /boot ext4" in by_virt_v2v.fstab


def test_virt_v2v_queues_the_agent_and_vmwares_tools_go(by_virt_v2v: Result) -> None:
    assert "qemu-guest-agent" in by_virt_v2v.first_boot
    assert "rpm --erase open-vm-tools-12.3.0-1.x86_64" in by_virt_v2v.calls


def test_native_mounts_by_uuid(by_native: Result) -> None:
    assert f"UUID={by_native.boot_uuid} /boot ext4" in by_native.fstab
    assert "dracut --force --no-hostonly" in by_native.calls


def test_without_a_key_the_remedy_is_named(tmp_path: Path) -> None:
    vm, disk = prepare(tmp_path)
    with pytest.raises(DiskLocked) as caught:
        VirtV2vInPlace().convert(vm, [disk], cancel=go_on, log=print)
    assert "--luks-key" in caught.value.remedy
