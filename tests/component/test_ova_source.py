"""OVA archives and OVF folders on this machine: what is read equals the disks, and nothing wrong ever looks whole."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.errors import (
    LeaseExpired,
    NotFound,
    SourceChanged,
    SourceDenied,
    TransferInterrupted,
    TransportRefused,
    UnsafeImage,
    VmferryError,
)
from app.domain.models import VM, PowerState
from app.ports.disks import ByteStream, RangeDisk, StreamDisk
from app.ports.source import Source
from app.process import run
from tests.contract.test_source import decode, go_on
from tests.packages import (
    CPU,
    MEMORY,
    MIB,
    PVSCSI,
    PackagedDisk,
    descriptor,
    disk,
    disk_entry,
    disk_items,
    envelope,
    file_entry,
    manifest,
    package,
    spec,
    system,
    tar,
    write_folder,
)
from workers.sources import open_source


@pytest.fixture(scope="module")
def raws() -> list[bytes]:
    """Noise, text and holes; the second is no whole number of grains."""
    source = random.Random(11)
    first = source.randbytes(3 * MIB) + bytes(5 * MIB) + b"text" * MIB
    return [first, bytes(MIB) + source.randbytes(MIB + 512 * 7)]


@pytest.fixture(scope="module")
def disks(raws: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> list[PackagedDisk]:
    """As qemu-img writes them."""
    return [by_qemu_img(f"web-disk{i}.vmdk", raw, tmp_path_factory.mktemp("disk")) for i, raw in enumerate(raws, 1)]


def by_qemu_img(name: str, raw: bytes, folder: Path) -> PackagedDisk:
    (folder / "raw").write_bytes(raw)
    options = ["-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    run(["qemu-img", "convert", *options, folder / "raw", folder / name])
    return PackagedDisk(name, (folder / name).read_bytes(), len(raw))


@contextmanager
def opened(place: Path | str, **fields: object) -> Iterator[Source]:
    source = open_source(spec(place, **fields))
    try:
        yield source
    finally:
        source.close()


def read(source: Source, vm: VM) -> list[bytes]:
    """All disks of a VM, decoded."""
    with source.access(vm.id, "file", cancel=go_on) as access:
        return [decode(stream(access.disk(one.key)), one.capacity_bytes) for one in vm.disks]


def stream(found: StreamDisk | RangeDisk) -> ByteStream:
    assert isinstance(found, StreamDisk)
    return found.open_stream()


def drain(one: ByteStream) -> int:
    buffer, total = memoryview(bytearray(1 << 16)), 0
    while count := one.readinto(buffer):
        total += count
    return total


@pytest.mark.parametrize("form", ["ova", "ova, manifest last", "folder", "no manifest", "SHA1", "SHA512"])
def test_disks_equal_what_was_packed(form: str, disks: list[PackagedDisk], raws: list[bytes], tmp_path: Path) -> None:
    algorithm = {"no manifest": "", "SHA1": "SHA1", "SHA512": "SHA512"}.get(form, "SHA256")
    members = package(disks, algorithm=algorithm, manifest_last="last" in form)
    if form == "folder":
        place = write_folder(tmp_path, members)
    else:
        place = tmp_path / "web.ova"
        place.write_bytes(tar(members))
    before = sorted(tmp_path.iterdir())
    with opened(place) as source:
        rows = source.check()
        (vm,) = source.inventory()
        assert all(row.ok for row in rows), rows
        assert ("no manifest" in rows[-1].detail) is (not algorithm)
        assert [concern.code for concern in vm.concerns] == ([] if algorithm else ["manifest_missing"])
        assert read(source, vm) == raws
        assert source.power_state(vm.id) is PowerState.OFF
        assert [(way.transport, way.usable) for way in source.ways(vm)] == [("file", True)]
    assert sorted(tmp_path.iterdir()) == before  # nothing was unpacked


def test_a_folder_of_packages(disks: list[PackagedDisk], raws: list[bytes], tmp_path: Path) -> None:
    """Archives and folders of one level; what is not in order is told by the check and keeps nobody from the rest."""
    (tmp_path / "one.ova").write_bytes(tar(package(disks[:1], name="one")))
    write_folder(tmp_path / "two", package(disks[1:], name="two"))
    (tmp_path / "broken.ova").write_bytes(tar(package(disks))[:-40_000])
    (tmp_path / "notes.txt").write_text("not a package")
    write_folder(tmp_path / "a" / "b", package(disks, name="too deep"))
    (tmp_path / "link.ova").symlink_to(tmp_path / "one.ova")
    (tmp_path / "linked").symlink_to(tmp_path / "two", target_is_directory=True)
    with opened(tmp_path) as source:
        vms = source.inventory()
        assert [(vm.name, vm.folder) for vm in vms] == [("one", "one.ova"), ("two", "two/web.ovf")]
        assert len({vm.id for vm in vms}) == 2
        assert [read(source, vm) for vm in vms] == [raws[:1], raws[1:]]
        rows = {row.name: row for row in source.check()}
    assert [name for name, row in rows.items() if not row.ok] == ["package broken.ova", "package link.ova"]
    assert "cut" in rows["package broken.ova"].detail
    assert "symbolic link" in rows["package link.ova"].detail


def test_several_vms_and_an_empty_disk(disks: list[PackagedDisk], raws: list[bytes], tmp_path: Path) -> None:
    text = envelope(
        file_entry(1, disks[0].file, len(disks[0].vmdk)) + file_entry(3, disks[1].file, len(disks[1].vmdk)),
        disk_entry(1, disks[0].capacity) + disk_entry(2, 64 * MIB, file=False) + disk_entry(3, disks[1].capacity),
        '<VirtualSystemCollection ovf:id="app"><Info/>'
        + system("db", CPU + MEMORY + PVSCSI + disk_items(2), key="db")
        + system("web", CPU + MEMORY + PVSCSI + disk_items(1, first=2), key="web")
        + "</VirtualSystemCollection>",
    )
    place = tmp_path / "app.ova"
    place.write_bytes(tar([("app.ovf", text), *((one.file, one.vmdk) for one in disks)]))
    with opened(place) as source:
        database, web = source.inventory()
        assert (database.name, web.name) == ("db", "web")
        assert database.uuid != web.uuid
        assert read(source, web) == raws[1:]
        with source.access(database.id, "file", cancel=go_on) as access:
            assert decode(stream(access.disk(2000)), disks[0].capacity) == raws[0]
            empty = access.disk(2001)
            assert isinstance(empty, RangeDisk)
            assert (empty.capacity, list(empty.areas())) == (64 * MIB, [])
            reader = empty.open_reader()
            reader.start(MIB, 4096)
            reader.fill(memoryview(seen := bytearray(b"x" * 4096)))
            assert not any(seen)


Damage = Callable[[bytes], bytes]


def flip(place: int) -> Damage:
    def change(data: bytes) -> bytes:
        at = place % len(data)
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return change


@pytest.mark.parametrize("decoder", ["decoded", "only read"])
@pytest.mark.parametrize("seed", range(12))
def test_a_flip_anywhere_in_a_disk_is_caught(
    seed: int, decoder: str, disks: list[PackagedDisk], tmp_path: Path
) -> None:
    members = package(disks[:1])
    bad = flip(random.Random(seed).randrange(len(disks[0].vmdk)))(disks[0].vmdk)
    place = tmp_path / "web.ova"
    place.write_bytes(tar([*members[:-1], (disks[0].file, bad)]))
    with opened(place) as source:
        (vm,) = source.inventory()
        with pytest.raises(UnsafeImage), source.access(vm.id, "file", cancel=go_on) as access:  # noqa: PT012
            one = stream(access.disk(2000))
            drain(one) if decoder == "only read" else decode(one, disks[0].capacity)


def test_a_flip_behind_the_end_mark_of_a_disk_is_caught(tmp_path: Path) -> None:
    """The zeros that may follow a stream say nothing to a decoder: it is the digest that notices."""
    raw = random.Random(3).randbytes(MIB)
    whole = disk("a.vmdk", raw)
    padded = PackagedDisk("a.vmdk", whole.vmdk + bytes(4096), MIB)
    members = package([padded])
    place = tmp_path / "web.ova"
    place.write_bytes(tar(members))
    with opened(place) as source:
        (vm,) = source.inventory()
        assert read(source, vm) == [raw]
    longer = padded.vmdk + bytes(4096)  # and a manifest that is right about another length
    text = members[0][1].replace(b'ovf:size="%d"' % len(padded.vmdk), b'ovf:size="%d"' % len(longer))
    digests = manifest([("web.ovf", text), ("a.vmdk", padded.vmdk)])
    place.write_bytes(tar([("web.ovf", text), ("web.mf", digests), ("a.vmdk", longer)]))
    with opened(place) as source:
        (vm,) = source.inventory()
        with pytest.raises(UnsafeImage, match="SHA256"):
            read(source, vm)


@pytest.mark.parametrize("form", ["ova", "folder"])
def test_truncations_are_caught(form: str, disks: list[PackagedDisk], tmp_path: Path) -> None:
    members = package(disks, algorithm="")
    whole = tar(members)
    for share in (0.05, 0.4, 0.8, 0.97):
        if form == "ova":
            place = tmp_path / "web.ova"
            place.write_bytes(whole[: int(len(whole.rstrip(b"\0")) * share)])
        else:
            last = members[-1]
            place = write_folder(tmp_path, [*members[:-1], (last[0], last[1][: int(len(last[1]) * share)])])
        with opened(place) as source, pytest.raises(UnsafeImage):
            source.inventory()


def test_a_descriptor_that_is_wrong_about_a_size(disks: list[PackagedDisk], raws: list[bytes], tmp_path: Path) -> None:
    """Many writers are. With a digest nothing is lost; without one, it is the only word there is."""
    text = descriptor(disks).replace(b'ovf:size="%d"' % len(disks[0].vmdk), b'ovf:size="123456789"')
    bodies = [(one.file, one.vmdk) for one in disks]
    place = tmp_path / "web.ova"
    place.write_bytes(tar([("web.ovf", text), ("web.mf", manifest([("web.ovf", text), *bodies])), *bodies]))
    with opened(place) as source:
        (vm,) = source.inventory()
        assert [concern.code for concern in vm.concerns] == ["ovf_size_wrong"]
        assert read(source, vm) == raws
    place.write_bytes(tar([("web.ovf", text), *bodies]))
    with opened(place) as source, pytest.raises(UnsafeImage, match="123456789"):
        source.inventory()


def test_a_changed_descriptor_is_not_the_manifests(disks: list[PackagedDisk], tmp_path: Path) -> None:
    members = package(disks)
    changed = members[0][1].replace(b"VirtualQuantity>2<", b"VirtualQuantity>9<")
    place = tmp_path / "web.ova"
    place.write_bytes(tar([("web.ovf", changed), *members[1:]]))
    with opened(place) as source, pytest.raises(UnsafeImage, match="manifest"):
        source.inventory()


def test_a_disk_that_was_read_in_part_is_no_disk(disks: list[PackagedDisk], tmp_path: Path) -> None:
    place = tmp_path / "web.ova"
    place.write_bytes(tar(package(disks)))
    with opened(place) as source:
        (vm,) = source.inventory()
        buffer = memoryview(bytearray(4096))
        with (
            pytest.raises(TransferInterrupted, match="not read to its end"),
            source.access(vm.id, "file", cancel=go_on) as access,
        ):
            stream(access.disk(2000)).readinto(buffer)
        with source.access(vm.id, "file", cancel=go_on) as access:  # a part, and then all of it
            stream(access.disk(2000)).readinto(buffer)
            assert drain(stream(access.disk(2000))) == len(disks[0].vmdk)


def test_what_is_asked_wrongly(disks: list[PackagedDisk], tmp_path: Path) -> None:
    place = tmp_path / "web.ova"
    place.write_bytes(tar(package(disks)))
    with opened(place) as source:
        (vm,) = source.inventory()
        with pytest.raises(TransportRefused), source.access(vm.id, "nfc", cancel=go_on):
            pass
        with pytest.raises(NotFound), source.access(vm.id, "file", snapshot="snapshot-1", cancel=go_on):
            pass
        with pytest.raises(SourceDenied) as caught:
            source.power_on(vm.id)
        assert caught.value.remedy
        with source.access(vm.id, "file", cancel=go_on) as access:
            one = access.disk(2000)
            with pytest.raises(NotFound):
                access.disk(2009)
        with pytest.raises(LeaseExpired):
            stream(one)


def test_a_change_is_seen_wherever_it_comes(disks: list[PackagedDisk], tmp_path: Path) -> None:
    """Written to, put in its place with an old date, or while it is read: another identity, and never both in one."""
    place = tmp_path / "web.ova"
    place.write_bytes(tar(package(disks)))
    with opened(place) as source:
        (vm,) = source.inventory()
        before = source.now()
        time.sleep(0.02)
        assert not source.started_since(vm.id, before)
        with source.access(vm.id, "file", cancel=go_on) as access:
            identity = access.disk(2000).identity
            assert access.disk(2000).identity == identity
        with pytest.raises(SourceChanged), source.access(vm.id, "file", cancel=go_on) as access:  # noqa: PT012
            one = stream(access.disk(2000))
            one.readinto(memoryview(bytearray(4096)))
            with place.open("ab") as file:
                file.write(bytes(512))
            drain(one)
        assert source.started_since(vm.id, before)
        before = source.now()
        time.sleep(0.02)
        other = tmp_path / "other"
        other.write_bytes(tar(package(disks)))
        os.utime(other, (0, 0))
        other.rename(place)
        assert source.started_since(vm.id, before)
        with source.access(vm.id, "file", cancel=go_on) as access:
            assert access.disk(2000).identity != identity
        place.unlink()
        with pytest.raises(NotFound):
            source.started_since(vm.id, before)


def test_one_place_has_one_identity(disks: list[PackagedDisk], tmp_path: Path) -> None:
    place = tmp_path / "web.ova"
    place.write_bytes(tar(package(disks)))
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    with opened(place) as one, opened(tmp_path / "elsewhere" / "web.ova") as same, opened(tmp_path) as other:
        assert one.identity() == same.identity() != other.identity()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("missing.ova", NotFound),
        ("missing", NotFound),
        ("folder.ova", SourceDenied),
        ("pipe.ova", SourceDenied),
        ("link.ova", SourceDenied),
        ("/dev/zero.ova", NotFound),
    ],
)
def test_places_that_cannot_be_read(place: str, error: type[VmferryError], tmp_path: Path) -> None:
    (tmp_path / "folder.ova").mkdir()
    os.mkfifo(tmp_path / "pipe.ova")
    (tmp_path / "link.ova").symlink_to("/etc/passwd")
    with opened(tmp_path / place) as source:
        with pytest.raises(error):
            source.inventory()
        assert not source.check()[-1].ok


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as source:
        (row,) = source.check()
        assert (row.ok, source.inventory()) == (False, [])
        assert ".ova" in row.remedy


def test_nothing_stays_open(disks: list[PackagedDisk], tmp_path: Path) -> None:
    (tmp_path / "one.ova").write_bytes(tar(package(disks)))
    write_folder(tmp_path / "two", package(disks))
    (tmp_path / "bad.ova").write_bytes(b"x" * 4096)
    write_folder(tmp_path / "worse", [("web.ovf", b"<no/>"), ("web.mf", b"nonsense")])
    before = len(os.listdir("/proc/self/fd"))
    with opened(tmp_path) as source:
        source.check()
        for vm in source.inventory():
            read(source, vm)
    assert len(os.listdir("/proc/self/fd")) == before
