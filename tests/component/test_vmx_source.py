"""VMX folders as a source: what is there, what is in use, and the disks, read where they are."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.errors import (
    InvalidRequest,
    NotFound,
    ShutdownFailed,
    SourceChanged,
    SourceDenied,
    SourceUnavailable,
    TransientError,
    TransportRefused,
    UnsafeImage,
)
from app.domain.models import PowerState
from app.ports.source import Source
from tests.component.test_vmdk_disk import chain, make_raw, qemu_raw, read, read_areas, vmdk_of
from tests.vmx_folders import lock, spec, unlock, write_flat, write_vmx
from workers.sources import open_source

MIB = 1 << 20


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


@pytest.fixture
def vmx(tmp_path: Path) -> Path:
    path = write_vmx(tmp_path / "vms/web/web.vmx", "web", {"scsi0:0": "system.vmdk", "scsi0:1": "data.vmdk"})
    write_flat(path.parent, "system", b"system\0\0" * (MIB // 8))
    write_flat(path.parent, "data", b"data" * (MIB // 2))
    return path


def test_a_file_a_folder_and_a_folder_of_folders(vmx: Path) -> None:
    ids = {vmx: "web.vmx", vmx.parent: "web.vmx", vmx.parent.parent: "web/web.vmx"}
    for place, vm_id in ids.items():
        source = open_source(spec(place))
        (vm,) = source.inventory()
        assert (vm.id, vm.name, vm.folder) == (vm_id, "web", str(vmx.parent))
        assert [disk.capacity_bytes for disk in vm.disks] == [MIB, 2 * MIB]
        assert {disk.backing for disk in vm.disks} == {"flat"}
        assert vm == source.vm(vm_id)
        rows = source.check()
        assert [(row.name, row.ok) for row in rows] == [("reachable", True), (f"vm {vm_id}", True)]
        with source.access(vm_id, "file", cancel=go_on) as access:
            assert read(access.disk(2001)) == b"data" * (MIB // 2)


def test_a_chain_and_a_split_disk_are_what_qemu_reads(tmp_path: Path) -> None:
    folder = tmp_path / "vm"
    path = write_vmx(folder / "vm.vmx", "vm", {"scsi0:0": "disk-000003.vmdk", "scsi0:1": "twoGbMaxExtentSparse.vmdk"})
    top = chain(folder, "monolithicSparse", 50 * MIB)
    raw = tmp_path / "raw"
    make_raw(raw, 40 * MIB)
    os.truncate(raw, 2100 * MIB)
    split = vmdk_of(raw, folder, "twoGbMaxExtentSparse")
    assert len(list(folder.glob("twoGbMaxExtentSparse-s*.vmdk"))) == 2
    source = open_source(spec(path))
    vm = source.vm("vm.vmx")
    assert [(disk.backing, disk.capacity_bytes) for disk in vm.disks] == [("sparse", 50 * MIB), ("sparse", 2100 * MIB)]
    with source.access("vm.vmx", "file", cancel=go_on) as access:
        first, second = access.disk(2000), access.disk(2001)
        assert read(first) == qemu_raw(top)
        assert read_areas(second, list(second.areas())) == qemu_raw(split)


def test_who_is_in_use_is_on(vmx: Path) -> None:
    source = open_source(spec(vmx.parent.parent))
    other = write_vmx(vmx.with_name("other.vmx"), "other", {})

    def states() -> list[PowerState]:
        return [source.power_state(f"web/{name}.vmx") for name in ("web", "other")]

    assert states() == [PowerState.OFF, PowerState.OFF]
    lock(vmx)
    assert states() == [PowerState.ON, PowerState.OFF]
    unlock(vmx)
    vmx.with_name("web.vmx.lck").mkdir()  # VMware leaves an empty folder now and then
    assert states() == [PowerState.OFF, PowerState.OFF]
    (vmx.parent / "web.vmx.lck").rmdir()
    for name, state in {
        "data-flat.vmdk.lck": PowerState.ON,
        "system.vmdk.lck": PowerState.ON,
        ".lck-7d00000000000000": PowerState.ON,  # as hosts write it on NFS
        "photo.lck": PowerState.OFF,
    }.items():
        (vmx.parent / name).touch()
        assert states()[0] is state
        (vmx.parent / name).unlink()
    other.unlink()
    vmx.write_text(vmx.read_text() + 'checkpoint.vmState = "web.vmss"\n')
    assert source.power_state("web/web.vmx") is PowerState.SUSPENDED


def test_what_it_cannot_do(vmx: Path) -> None:
    source = open_source(spec(vmx))
    source.shut_down("web.vmx", force=False, timeout_s=1, cancel=go_on)
    with pytest.raises(SourceDenied):
        source.power_on("web.vmx")
    source.annotate("web.vmx", "moved")
    assert source.vm("web.vmx").annotation == ""
    lock(vmx)
    with pytest.raises(ShutdownFailed) as caught:
        source.shut_down("web.vmx", force=True, timeout_s=1, cancel=go_on)
    assert "lck" in caught.value.remedy
    for vm_id in ("other.vmx", "../web.vmx", "web/web.vmx"):
        for call in (source.power_on, source.vm, lambda vm_id: source.annotate(vm_id, "x")):
            with pytest.raises(NotFound):
                call(vm_id)


def test_other_ways_are_refused(vmx: Path) -> None:
    source = open_source(spec(vmx))
    for transport, snapshot in (("nfc", ""), ("https", ""), ("file", "snapshot-1")):
        with pytest.raises(TransportRefused), source.access("web.vmx", transport, snapshot=snapshot, cancel=go_on):
            pass
    for host in ("relative/web.vmx", "https://files.example/web.vmx", "/a/../b"):
        with pytest.raises(InvalidRequest):
            open_source(spec(host))


def test_a_vm_that_is_used_meanwhile(vmx: Path) -> None:
    source = open_source(spec(vmx))
    before = source.now()
    assert not source.started_since("web.vmx", before + timedelta(milliseconds=50))
    with pytest.raises(SourceChanged, match="is on"), source.access("web.vmx", "file", cancel=go_on):
        lock(vmx)
    unlock(vmx)
    with pytest.raises(SourceChanged, match="written to"), source.access("web.vmx", "file", cancel=go_on):
        write_flat(vmx.parent, "data", b"DATA" * (MIB // 2))
    assert source.started_since("web.vmx", before)


def test_nothing_can_be_read_after_the_end(vmx: Path) -> None:
    source = open_source(spec(vmx))
    with source.access("web.vmx", "file", cancel=go_on) as access:
        disk = access.disk(2000)
        reader = disk.open_reader()
        with pytest.raises(NotFound):
            access.disk(2002)
    reader.start(0, 512)
    with (vmx.parent / "data-flat.vmdk").open("rb"), pytest.raises(TransientError):  # which gets the same number
        reader.fill(memoryview(bytearray(512)))
    with pytest.raises(TransientError):
        read(disk, areas=False)


def test_a_disk_elsewhere_is_a_blocker_and_no_more(vmx: Path, tmp_path: Path) -> None:
    write_flat(tmp_path, "far", bytes(MIB))
    source = open_source(spec(vmx.parent.parent))
    places = {
        str(tmp_path / "far.vmdk"): "no plain file name",
        "../../far.vmdk": "no plain file name",
        "missing.vmdk": "is not there",
        "": "no plain file name",
        "link.vmdk": "is a link",
        "data-flat.vmdk": "is no VMDK descriptor",
    }
    (vmx.parent / "link.vmdk").symlink_to(tmp_path / "far.vmdk")
    for name, cause in places.items():
        write_vmx(vmx, "web", {"scsi0:0": "system.vmdk", "scsi0:1": name})
        (vm,) = source.inventory()
        (concern,) = vm.concerns
        assert concern.severity == "blocker"
        assert cause in concern.cause
        assert [disk.capacity_bytes for disk in vm.disks] == [MIB, 0]
        (way,) = source.ways(vm)
        assert not way.usable
        assert cause in way.reason
        assert not source.check()[-1].ok
        with pytest.raises((UnsafeImage, NotFound)), source.access(vm.id, "file", cancel=go_on):
            pass


def test_what_is_not_in_order_is_left_out_and_told(vmx: Path) -> None:
    root = vmx.parent.parent
    (root / "broken").mkdir()
    (root / "broken/broken.vmx").write_text('memsize = "1"\nmemsize = "2"\n')
    (root / "linked").mkdir()
    (root / "linked/linked.vmx").symlink_to(vmx)
    os.mkfifo(root / "pipe.vmx")
    (root / "elsewhere").symlink_to(vmx.parent)
    (root / "deep/er").mkdir(parents=True)
    write_vmx(root / "deep/er/deep.vmx", "deep", {})
    source = open_source(spec(root))
    assert [vm.id for vm in source.inventory()] == ["web/web.vmx"]
    rows = {row.name: row for row in source.check()}
    assert {name for name, row in rows.items() if not row.ok} == {
        "vm broken/broken.vmx",
        "vm linked/linked.vmx",
        "vm pipe.vmx",
    }
    assert all(row.remedy for row in rows.values() if not row.ok)
    with pytest.raises(UnsafeImage, match="two values for memsize"):
        source.vm("broken/broken.vmx")
    with pytest.raises(UnsafeImage):
        open_source(spec(root / "broken")).inventory()


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert open_source(spec(empty)).inventory() == []
    (row,) = open_source(spec(empty)).check()
    assert not row.ok
    missing = open_source(spec(tmp_path / "missing"))
    assert [row.ok for row in missing.check()] == [False]
    with pytest.raises((NotFound, SourceUnavailable)):
        missing.inventory()


def test_identity_is_of_the_real_place(vmx: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(vmx.parent)
    assert source_at(link).identity() == source_at(vmx.parent).identity()
    assert source_at(link).identity() != source_at(vmx.parent.parent).identity()
    assert source_at(link).inventory() == source_at(vmx.parent).inventory()


def source_at(place: Path) -> Source:
    return open_source(spec(place))


def test_snapshots_are_told(vmx: Path) -> None:
    vmx.with_suffix(".vmsd").write_text('snapshot.numSnapshots = "1"\nsnapshot0.displayName = "before the update"\n')
    assert source_at(vmx).vm("web.vmx").snapshots == ("before the update",)
