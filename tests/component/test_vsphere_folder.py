"""The files of a VM's disks over HTTPS: names, ranges, and everything a server can do instead of sending them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from app.domain.errors import LeaseExpired, SourceChanged, TransferInterrupted, TransportRefused, VmferryError
from app.ports.disks import RangeDisk, RangeReader
from app.ports.source import Source
from tests.component.test_vsphere_source import raw
from tests.contract.source_platforms import MIB, lab_spec
from tests.contract.test_source import content, go_on
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.sources import open_source

SIZE = 8 * MIB


@pytest.fixture
def direct(lab: Lab) -> Iterator[Source]:
    """The lab taken for an ESXi host."""
    source = open_source(lab_spec(lab, kind="esxi"))
    yield source
    lab.clear()
    source.close()


def make(lab: Lab, name: str, **changes: object) -> str:
    return lab.add(VmSpec(name, [DiskSpec(size_mib=8, fill_mib=4)], on=False, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vm_id(lab: Lab) -> str:
    return make(lab, "files")


def refused(source: Source, vm_id: str, snapshot: str = "") -> str:
    with (
        pytest.raises(TransportRefused) as caught,
        source.access(vm_id, "https", snapshot=snapshot, cancel=go_on) as access,
    ):
        access.disk(2000)
    assert caught.value.remedy
    return caught.value.message


def range_disk(disk: object) -> RangeDisk:
    assert isinstance(disk, RangeDisk)
    return disk


def part(reader: RangeReader, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    reader.start(offset, length)
    reader.fill(memoryview(buffer))
    return bytes(buffer)


# names


@pytest.mark.parametrize("once", [False, True], ids=["unescaped twice", "unescaped once"])
def test_names_that_need_quoting(tmp_path: Path, once: bool) -> None:
    with Lab(tmp_path, datacenter="Büro 1+2/50%25 #Süd?", datastore="NFS 1+2 50% ü#?&=;") as lab:
        vm_id = make(lab, "x", folder="Mein Server 100% + ü#?&;'")
        lab.set_unescape_once(once)
        source = open_source(lab_spec(lab))
        with source.access(vm_id, "https", cancel=go_on) as access:
            assert content(access.disk(2000), SIZE) == raw(lab, vm_id)
        source.close()


# what a server may do with a range


def test_ranges_that_are_ignored(lab: Lab, source: Source, vm_id: str) -> None:
    lab.set_ranges(False)
    assert "whole file" in refused(source, vm_id)


@pytest.mark.parametrize(
    ("lie", "words"),
    [("all", "whole file"), ("other", "with other ones"), ("less", "with other ones"), ("total", "8389120 bytes")],
)
def test_ranges_that_are_not_those_asked_for(lab: Lab, source: Source, vm_id: str, lie: str, words: str) -> None:
    lab.set_range_lie(lie)
    assert words in refused(source, vm_id)
    lab.set_range_lie("")
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        part(reader, 0, 4096)
        lab.set_range_lie(lie)
        with pytest.raises(SourceChanged if lie == "total" else TransportRefused):
            reader.start(MIB, 4096)
        lab.set_range_lie("")
        assert part(reader, MIB, 4096) == raw(lab, vm_id)[MIB : MIB + 4096]


def test_a_host_without_ranges_is_read_over_one_connection(lab: Lab, direct: Source) -> None:
    vm_id = make(lab, "one stream", change_tracking=True)
    lab.set_ranges(False)
    with direct.access(vm_id, "https", cancel=go_on) as access:
        assert access.connections == 1
        disk = range_disk(access.disk(2000))
        before = lab.calls()["folder"]
        assert content(disk, SIZE) == raw(lab, vm_id)
        with closing(disk.open_reader()) as reader:
            for offset in (0, 4096, MIB, MIB + 5000, 5 * MIB):
                assert part(reader, offset, 4096) == raw(lab, vm_id)[offset : offset + 4096]
            assert lab.calls()["folder"] == before + 2  # one body for each reader
            assert part(reader, 4096, 512) == raw(lab, vm_id)[4096:4608]  # back: it begins again
        lab.http_fault("/folder/", cut_bytes=3 * MIB)
        with closing(disk.open_reader()) as reader, pytest.raises(TransferInterrupted):
            part(reader, 0, SIZE)


@pytest.mark.parametrize("where", [1, 70_000, MIB - 1])
def test_a_cut_body_never_looks_whole(lab: Lab, source: Source, vm_id: str, where: int) -> None:
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        lab.http_fault("/folder/", cut_bytes=where)
        with pytest.raises(TransferInterrupted):
            part(reader, 2 * MIB, MIB)
        assert part(reader, 2 * MIB, MIB) == raw(lab, vm_id)[2 * MIB : 3 * MIB]  # the reader may start anew


def test_no_more_than_the_range_can_be_had(lab: Lab, source: Source, vm_id: str) -> None:
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        reader.start(0, 4096)
        with pytest.raises(ValueError, match="4097 bytes asked of 4096"):
            reader.fill(memoryview(bytearray(4097)))


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, TransportRefused, "read the datastore's files"),
        (404, LeaseExpired, "404"),
        (416, SourceChanged, "shorter"),
        (302, TransportRefused, "302"),
        (500, TransferInterrupted, "injected"),
        (503, TransferInterrupted, "503"),
    ],
)
def test_what_a_status_means(
    lab: Lab, source: Source, vm_id: str, status: int, error: type[VmferryError], words: str
) -> None:
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        part(reader, 0, 512)
        lab.http_fault("/folder/", status=status)
        with pytest.raises(error, match=words):
            reader.start(0, 512)
        assert part(reader, 0, 512) == raw(lab, vm_id)[:512]


# session and connection


def test_a_session_that_ends_is_renewed_once(lab: Lab, source: Source, vm_id: str) -> None:
    disk_bytes = raw(lab, vm_id)
    with source.access(vm_id, "https", cancel=go_on) as access:
        readers = [access.disk(2000).open_reader() for _ in range(4)]
        for reader in readers:
            part(reader, 0, 512)
        assert lab.expire_sessions() == 1
        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(part, reader, i * MIB, MIB) for i, reader in enumerate(readers)]
            assert b"".join(future.result() for future in found) == disk_bytes[: 4 * MIB]
        assert lab.expire_sessions() == 1
        for reader in readers:
            reader.close()


def test_a_session_that_ends_within_a_range(lab: Lab, source: Source, vm_id: str) -> None:
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        buffer = memoryview(bytearray(MIB))
        reader.start(0, 2 * MIB)
        reader.fill(buffer)
        lab.expire_sessions()
        reader.fill(buffer)
        assert part(reader, 2 * MIB, MIB) == raw(lab, vm_id)[2 * MIB : 3 * MIB]


def test_a_host_that_never_takes_the_session(lab: Lab, source: Source, vm_id: str) -> None:
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        lab.http_fault("/folder/", status=401, count=0)
        with pytest.raises(VmferryError, match="its own session for none") as caught:
            reader.start(0, 512)
        assert not caught.value.retryable


def test_an_idle_connection_that_was_closed_is_opened_again(tmp_path: Path) -> None:
    with Lab(tmp_path, http_idle=0.3) as lab:
        vm_id = make(lab, "idle")
        source = open_source(lab_spec(lab))
        with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
            for _ in range(3):
                assert part(reader, MIB, 4096) == raw(lab, vm_id)[MIB : MIB + 4096]
                time.sleep(0.6)
        source.close()


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        vm_id = make(lab, "gone")
        source = open_source(lab_spec(lab))
        access = source.access(vm_id, "https", cancel=go_on)
        reader = access.__enter__().disk(2000).open_reader()  # type: ignore[union-attr]
        part(reader, 0, 512)
    with pytest.raises(TransferInterrupted, match="does not answer"):
        reader.start(0, 512)
    access.__exit__(None, None, None)


# stopping


@pytest.mark.parametrize(("ends", "error"), [(False, TransferInterrupted), (True, LeaseExpired)])
def test_a_blocked_read_wakes_up(lab: Lab, source: Source, vm_id: str, ends: bool, error: type[VmferryError]) -> None:
    seen: list[BaseException] = []
    access = source.access(vm_id, "https", cancel=go_on)
    reader = access.__enter__().disk(2000).open_reader()  # type: ignore[union-attr]
    lab.http_fault("/folder/", rate=2000)

    def read() -> None:
        try:
            part(reader, 0, MIB)
        except VmferryError as stopped:
            seen.append(stopped)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    asked = time.monotonic()
    if ends:
        access.__exit__(None, None, None)
    else:
        reader.interrupt()
    thread.join(5)
    assert time.monotonic() - asked < 5
    assert [type(one) for one in seen] == [error]
    with pytest.raises(error):
        reader.start(0, 512)
    if not ends:
        access.__exit__(None, None, None)


# what cannot be read like this


def test_a_vm_that_is_started_meanwhile(lab: Lab, source: Source) -> None:
    vm_id = make(lab, "started")
    with source.access(vm_id, "https", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        part(reader, 0, 512)
        lab.power_on(vm_id)
        with pytest.raises(SourceChanged, match="busy"):
            reader.start(0, 512)


def test_a_file_that_something_else_holds(lab: Lab, source: Source, vm_id: str) -> None:
    lab.set_busy(True)
    assert "holds the disk's file open" in refused(source, vm_id)


def test_a_missing_privilege_is_named(lab: Lab, source: Source, vm_id: str) -> None:
    lab.deny("Datastore.Browse")
    with pytest.raises(TransportRefused) as caught, source.access(vm_id, "https", cancel=go_on):
        pass
    assert "Datastore.Browse" in caught.value.remedy


def test_snapshots_are_no_whole_files(lab: Lab, source: Source) -> None:
    vm_id = make(lab, "with snapshots", snapshots=1)
    assert "snapshots" in refused(source, vm_id)
    assert "snapshots" in refused(source, vm_id, lab.vm(vm_id)["snapshots"][0]["id"])


@pytest.mark.parametrize("kind", ["vsan", "VVOL"])
def test_datastores_without_files(lab: Lab, source: Source, vm_id: str, kind: str) -> None:
    lab.set_datastore_type(kind)
    assert kind.lower() in refused(source, vm_id)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("RW 16384 VMFS", "RW 8192 VMFS", "8192 sectors"),
        ("RW 16384 VMFS", "RW 16384 SESPARSE", "SESPARSE"),
        ("RW 16384 VMFS", 'RW 8192 VMFS "a"\nRW 8192 VMFS', "descriptor|one flat file"),
        ('"{}-flat', '"../{}-flat', "outside its folder|folder"),
        ('"{}-flat', '"vsan://{}-flat', "outside its folder|folder"),
        ('"{}-flat', '"no-such', "content of .* is missing"),
        ("parentCID=ffffffff", 'parentCID=00000001\nparentFileNameHint="x.vmdk"', "parent"),
        ("# Disk DescriptorFile", "KDMV", "descriptor"),
        ("# Disk DescriptorFile", "# Disk DescriptorFile\n" + "#" * 70_000, "65536 bytes"),
    ],
)
def test_descriptors_of_something_else(lab: Lab, source: Source, old: str, new: str, words: str) -> None:
    vm_id = make(lab, "described")
    path = Path(lab.vm(vm_id)["disks"][0]["path"].replace("-flat", ""))
    text, name = path.read_text(), path.stem
    assert old.format(name) in text
    path.write_text(text.replace(old.format(name), new.format(name)))
    with pytest.raises(TransportRefused, match=words), source.access(vm_id, "https", cancel=go_on):
        pass


def test_a_file_that_is_too_short(lab: Lab, source: Source) -> None:
    vm_id = make(lab, "short")
    with Path(lab.vm(vm_id)["disks"][0]["path"]).open("r+b") as file:
        file.truncate(SIZE - 512)
    assert "8388096 bytes" in refused(source, vm_id)
