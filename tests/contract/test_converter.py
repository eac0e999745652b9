"""What every Converter does: in memory, and the real ones on the lab's RPM guest, whose root is on LUKS; boot unproven.

Each real conversion is made once, and looked at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.domain.errors import Cancelled, DiskLocked
from app.domain.models import VM, GuestReport, Nic
from app.ports.converter import Converter
from converters import qcow2
from converters.native import Native
from converters.offline import keep_few_lenses
from converters.virt_v2v import VirtV2vInPlace
from tests.contract.memory.converter import MemoryConverter
from tests.lab.appliance import started
from tests.lab.rpm_guest import (
    ADDRESS,
    CALLS,
    GATEWAY,
    HOSTNAME,
    INITRAMFS,
    KERNEL,
    LUKS_KEY,
    LUKS_UUID,
    MACHINE_ID,
    SERVICE,
    build_rpm_guest,
)
from tests.unit.moves import make_vm

MIB = 1 << 20
AUG_NO_LOAD = 32
LINK = "/etc/systemd/network/10-vmferry-ens192.link"
SCRIPTS = "/usr/lib/virt-sysprep/scripts"


@dataclass(frozen=True)
class Left:
    """What a look at the guest found. `files`: path → text. `calls`: what was run in it."""

    files: dict[str, str]
    calls: str
    first_boot: str
    initramfs: list[str]
    boot_uuid: str
    link_mode: tuple[int, int, int]  # mode, owner, group
    lenses: set[str]  # that augeas has in the appliance after keep_few_lenses


@dataclass(frozen=True)
class Converted:
    converter: Converter
    vm: VM
    base: Path
    digest: str
    overlay: Path
    report: GuestReport
    log: list[str]
    left: Left | None  # None in memory


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(converter: Converter, folder: Path) -> Converted:
    """The guest, in memory an empty disk, converted on an overlay."""
    guest = build_rpm_guest()
    in_memory = isinstance(converter, MemoryConverter)
    base = folder / "0.qcow2" if in_memory else guest.disk
    if in_memory:
        qcow2.create(base, MIB)
    before = digest(base)
    overlay = overlay_on(base, folder)
    nic = Nic(key=4000, label="n", mac=guest.mac, network="VM Network", slot=guest.slot)
    vm = make_vm(guest_id="fedora64Guest", nics=(nic,), disks=make_vm().disks[:1])
    log: list[str] = []
    report = converter.convert(vm, [overlay], keys=keys(converter), cancel=go_on, log=log.append)
    left = None if in_memory else look(overlay)
    return Converted(converter, vm, base, before, overlay, report, log, left)


def overlay_on(base: Path, folder: Path) -> Path:
    overlay = folder / "0.overlay.qcow2"
    qcow2.create_overlay(overlay, base, "raw" if base.suffix == ".raw" else "qcow2")
    return overlay


def keys(converter: Converter) -> Mapping[str, str]:
    """One is told the key of all disks, the other that of this one."""
    return {LUKS_UUID: LUKS_KEY} if converter.name == "native" else {"all": LUKS_KEY}


def look(disk: Path) -> Left:
    with started([disk], "qcow2", readonly=True) as g:
        g.cryptsetup_open("/dev/sda2", LUKS_KEY, "root")
        g.mount_ro("/dev/mapper/root", "/")
        g.mount_ro("/dev/sda1", "/boot")
        status = g.statns(LINK)
        keep_few_lenses(g)
        g.aug_init("/", AUG_NO_LOAD)
        return Left(
            {path: g.read_file(path).decode() for path in ("/etc/fstab", "/etc/crypttab", LINK)},
            g.read_file(CALLS).decode(),
            "\n".join(g.read_file(path).decode() for path in g.glob_expand(f"{SCRIPTS}/*")),
            list(g.initrd_list(INITRAMFS)),
            g.vfs_uuid("/dev/sda1"),
            (status["st_mode"] & 0o7777, status["st_uid"], status["st_gid"]),
            {str(path).rpartition("/")[2].lower() for path in g.aug_ls("/augeas/load")},
        )


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    converter = MemoryConverter(os="fedora39", hostname=HOSTNAME, nics={build_rpm_guest().mac: "ens192"})
    return convert(converter, tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def by_virt_v2v(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return convert(VirtV2vInPlace(), tmp_path_factory.mktemp("virt-v2v"))


@pytest.fixture(scope="module")
def by_native(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return convert(Native(), tmp_path_factory.mktemp("native"))


@pytest.fixture(params=["in_memory", "by_virt_v2v", "by_native"])
def converted(request: pytest.FixtureRequest) -> Converted:
    made: Converted = request.getfixturevalue(request.param)
    return made


def test_it_says_whom_it_met_and_what_it_kept(converted: Converted) -> None:
    report = converted.report
    assert report.converter.startswith(converted.converter.name)
    assert (report.os, report.hostname) == ("fedora39", HOSTNAME)
    assert report.nic_names == {nic.mac: "ens192" for nic in converted.vm.nics}
    assert all(concern.severity in ("warning", "info") for concern in report.concerns)
    assert converted.log


def test_it_says_who_the_guest_was_before(converted: Converted) -> None:
    before = converted.report.before
    if converted.left is None:
        assert before is None
        return
    assert before is not None
    assert before.hostname == HOSTNAME
    assert before.addresses == {"": (ADDRESS,)}
    assert before.routes == (f"default via {GATEWAY}",)
    assert before.dns == (GATEWAY,)
    assert before.mounts == ("/", "/boot")
    assert before.services == (SERVICE,)
    assert before.kernel == KERNEL
    assert before.machine_id == MACHINE_ID


def test_only_the_overlays_are_written(converted: Converted) -> None:
    assert digest(converted.base) == converted.digest
    assert qcow2.check(converted.overlay).corruptions == 0


def test_its_tools_are_here(converted: Converted) -> None:
    checks = converted.converter.check()
    assert checks
    assert all(check.ok and check.detail for check in checks)


def test_a_cancel_passes_through(converted: Converted, tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("the user asked to stop")

    converter, overlay = converted.converter, overlay_on(converted.base, tmp_path)
    with pytest.raises(Cancelled):
        converter.convert(converted.vm, [overlay], keys=keys(converter), cancel=stop, log=converted.log.append)
    assert digest(converted.base) == converted.digest


def test_the_guest_is_ready_for_its_new_hardware(converted: Converted) -> None:
    left = converted.left
    if left is None:
        assert isinstance(converted.converter, MemoryConverter)
        assert converted.converter.calls[0] == (converted.vm.id, (converted.overlay,))
        return
    assert f"MACAddress={converted.vm.nics[0].mac}\n" in left.files[LINK]
    assert "Name=ens192\n" in left.files[LINK]
    assert left.link_mode == (0o644, 0, 0)
    for driver in ("virtio_blk", "virtio_pci"):
        assert any(name.endswith(f"/{driver}.ko") for name in left.initramfs)
    assert left.files["/etc/crypttab"] == f"luks-{LUKS_UUID} UUID={LUKS_UUID} none\n"
    assert f"/dev/mapper/luks-{LUKS_UUID} / ext4" in left.files["/etc/fstab"]
    assert "/dev/sda" not in left.files["/etc/fstab"]


# ---- what one of them does by itself


def test_native_leaves_augeas_the_lenses_that_inspection_reads_by(by_native: Converted) -> None:
    assert by_native.left is not None
    assert by_native.left.lenses == {"fstab", "mdadm_conf", "shellvars"}


def test_virt_v2v_has_dracut_make_the_initramfs_anew(by_virt_v2v: Converted) -> None:
    assert by_virt_v2v.left is not None
    assert f"{INITRAMFS} {KERNEL}\n" in by_virt_v2v.left.calls
    assert "--add-drivers virtio_blk virtio_scsi virtio_net virtio_pci" in by_virt_v2v.left.calls
    assert "/dev/vda1 /boot ext4" in by_virt_v2v.left.files["/etc/fstab"]


def test_virt_v2v_queues_the_agent_and_vmwares_tools_go(by_virt_v2v: Converted) -> None:
    assert by_virt_v2v.left is not None
    assert "qemu-guest-agent" in by_virt_v2v.left.first_boot
    assert "rpm --erase open-vm-tools-12.3.0-1.x86_64" in by_virt_v2v.left.calls


def test_native_mounts_by_uuid(by_native: Converted) -> None:
    assert by_native.left is not None
    assert f"UUID={by_native.left.boot_uuid} /boot ext4" in by_native.left.files["/etc/fstab"]
    assert "dracut --force --no-hostonly" in by_native.left.calls


def test_virt_v2v_names_the_remedy_where_a_key_is_missing(by_virt_v2v: Converted, tmp_path: Path) -> None:
    overlay = overlay_on(by_virt_v2v.base, tmp_path)
    with pytest.raises(DiskLocked) as caught:
        by_virt_v2v.converter.convert(by_virt_v2v.vm, [overlay], cancel=go_on, log=print)
    assert "--luks-key" in caught.value.remedy
