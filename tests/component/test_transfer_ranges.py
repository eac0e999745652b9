"""A disk read in ranges over several connections, cut, killed and gone on with, is the disk in the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.errors import Cancelled, Parked, SourceChanged, SourceDenied, TransferInterrupted, TransientError
from app.domain.models import ImageOptions
from app.process import run
from converters import qcow2
from converters.qcow2_writer import Qcow2Writer
from tests.component.test_qcow2 import servers_of
from tests.contract.memory.disks import MemoryRanges
from tests.hostile.streams import Memory, Writer, pieces
from workers.transfer import copy as copying
from workers.transfer.copy import CopyProgress, Pace, copy_disk, read_again
from workers.transfer.journal import Journal
from workers.transfer.manifest import Manifest
from workers.transfer.ranges import AHEAD
from workers.transfer.sink import WINDOW
from workers.transfer.verify import verify_copy

MIB = 1 << 20
SIZE = 90 * MIB


def nothing(*_: object) -> None: ...


@pytest.fixture
def disk() -> MemoryRanges:
    """Noise and text at odd places, written zeros, holes, and data in the last sector."""
    source = random.Random(8)
    data = bytearray(SIZE)
    for _ in range(60):
        place = source.randrange(SIZE // 512 - 2048) * 512
        length = source.choice([512, 4096, 65536, 300_000, MIB])
        data[place : place + length] = source.randbytes(length) if source.random() < 0.7 else b"text" * (length // 4)
    data[-512:] = b"e" * 512
    return MemoryRanges(data)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.qcow2"
    qcow2.create(path, SIZE)
    return path


def journal_of(target: Path, disk: MemoryRanges) -> Journal:
    path = target.with_suffix(".journal")
    return Journal.resume(path, disk.identity, SIZE) or Journal.create(path, disk.identity, SIZE)


def copy(
    disk: MemoryRanges,
    target: Path,
    *,
    cancel: Callable[[], None] = nothing,
    progress: Callable[[CopyProgress], None] = nothing,
    connections: int = 3,
    image: ImageOptions = ImageOptions(),  # noqa: B008
) -> Manifest:
    before = threading.active_count()
    try:
        with journal_of(target, disk) as journal:
            pace = Pace(connections=connections)
            return copy_disk(disk, target, journal, image=image, pace=pace, progress=progress, cancel=cancel)
    finally:
        assert threading.active_count() == before
        assert servers_of(target) == []
        assert disk.open_readers == 0


def assert_equal(disk: MemoryRanges, target: Path, tmp_path: Path, format: str = "qcow2") -> None:
    raw = tmp_path / "expected.raw"
    raw.write_bytes(disk.data)
    run(["qemu-img", "compare", "-f", "raw", "-F", format, raw, target])


def test_the_copy_is_the_disk(disk: MemoryRanges, target: Path, tmp_path: Path) -> None:
    seen: list[CopyProgress] = []
    manifest = copy(disk, target, progress=seen.append)
    assert_equal(disk, target, tmp_path)
    allocated = sum(area.length for area in disk.areas())
    assert manifest.wire_bytes == allocated  # nothing else, and nothing twice
    assert seen[-1] == CopyProgress(manifest.data_bytes, SIZE - manifest.data_bytes, allocated)
    verify_copy(target, manifest, progress=nothing, cancel=nothing)
    assert qcow2.check(target) == qcow2.ImageCheck(0, 0)


def test_the_manifest_is_that_of_the_stream(disk: MemoryRanges, target: Path, tmp_path: Path) -> None:
    manifest = copy(disk, target)
    stream = Memory(Writer(SIZE // 512, pieces(bytes(disk.data))).write())

    class Streamed:
        identity = "the same"

        def open_stream(self) -> Memory:
            return stream

    other = tmp_path / "other.qcow2"
    qcow2.create(other, SIZE)
    with Journal.create(tmp_path / "other.journal", "the same", SIZE) as journal:
        again = copy_disk(Streamed(), other, journal, progress=nothing, cancel=nothing)
    assert again.digest == manifest.digest
    assert again.data_bytes == manifest.data_bytes


def test_what_lies_together_is_asked_for_at_once(disk: MemoryRanges, target: Path) -> None:
    disk.data[:] = random.Random(1).randbytes(SIZE)
    copy(disk, target)
    assert len(disk.requests) == -(-SIZE // (32 * MIB))


@pytest.mark.parametrize(
    "image",
    [
        ImageOptions(format="raw"),
        ImageOptions(cluster_kib=2048),
        ImageOptions(compressed=True),
        ImageOptions(compressed=True, cluster_kib=512),
        ImageOptions(discard=False),
    ],
    ids=str,
)
def test_every_kind_of_target(disk: MemoryRanges, tmp_path: Path, image: ImageOptions) -> None:
    target = tmp_path / f"target.{image.format}"
    options = ["-o", f"cluster_size={image.cluster_kib}k"] if image.format == "qcow2" else []
    run(["qemu-img", "create", "-q", "-f", image.format, *options, target, str(SIZE)])
    manifest = copy(disk, target, image=image)
    assert_equal(disk, target, tmp_path, image.format)
    verify_copy(target, manifest, format=image.format, progress=nothing, cancel=nothing)
    if image.compressed:
        assert qcow2.check(target) == qcow2.ImageCheck(0, 0)
        plain = tmp_path / "plain.qcow2"
        qcow2.create(plain, SIZE)
        target.with_suffix(".journal").unlink()
        copy(disk, plain)
        assert qcow2.allocated(target) < qcow2.allocated(plain)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_disk_that_ends_within_a_cluster(tmp_path: Path, compressed: bool) -> None:
    disk = MemoryRanges(bytearray(random.Random(6).randbytes(5 * MIB + 3 * 512)))
    target = tmp_path / "odd.qcow2"
    qcow2.create(target, disk.capacity)
    with Journal.create(tmp_path / "odd.journal", "x", disk.capacity) as journal:
        image = ImageOptions(compressed=compressed)
        copy_disk(disk, target, journal, image=image, progress=nothing, cancel=nothing)
    assert_equal(disk, target, tmp_path)


def test_a_connection_that_breaks_is_opened_anew(disk: MemoryRanges, target: Path, tmp_path: Path) -> None:
    broken = set()

    def before(offset: int, length: int) -> None:
        if offset // (8 * MIB) not in broken:
            broken.add(offset // (8 * MIB))
            raise TransferInterrupted("cut")

    disk.before_fill = before
    copy(disk, target)
    assert len(broken) > 8
    assert_equal(disk, target, tmp_path)


def test_a_connection_that_breaks_each_time_ends_it(
    disk: MemoryRanges, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.transfer.ranges.PAUSE_S", 0.001)

    def before(offset: int, length: int) -> None:
        raise TransferInterrupted("cut")

    disk.before_fill = before
    with pytest.raises(TransferInterrupted, match="cut"):
        copy(disk, target)


@pytest.mark.parametrize(
    "error",
    [SourceDenied("no"), Cancelled("stop"), Parked(), ValueError("ours")],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_passes(disk: MemoryRanges, target: Path, error: BaseException) -> None:
    def before(offset: int, length: int) -> None:
        if offset > 40 * MIB:
            raise error

    disk.before_fill = before
    with pytest.raises(type(error)) as caught:
        copy(disk, target)
    assert caught.value is error


def interrupted_at(disk: MemoryRanges, target: Path, share: float) -> None:
    """Copy until a part of all bytes was read, then stop as a worker does."""
    wanted = int(sum(area.length for area in disk.areas()) * share)

    def cancel() -> None:
        if sum(length for _, length in disk.reads) >= wanted:
            raise Parked

    with pytest.raises(Parked):
        copy(disk, target, cancel=cancel)


def test_it_goes_on_where_it_was(
    disk: MemoryRanges, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "COMMIT_BYTES", MIB)
    disk.data[:] = random.Random(2).randbytes(SIZE)
    interrupted_at(disk, target, 0.8)
    done = sum(length for _, length in disk.reads)
    with journal_of(target, disk) as journal:
        known = journal.table.known_bytes
        assert known > 0
    disk.reads.clear()
    manifest = copy(disk, target)
    assert sum(length for _, length in disk.reads) == SIZE - known
    assert manifest.wire_bytes >= SIZE
    assert done > known
    assert_equal(disk, target, tmp_path)
    verify_copy(target, manifest, progress=nothing, cancel=nothing)
    disk.reads.clear()
    assert copy(disk, target).digest == manifest.digest
    assert disk.reads == []


def test_what_a_crash_may_cost_is_bounded(disk: MemoryRanges, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a flush takes long: reading does not run away from the journal."""
    monkeypatch.setattr(copying, "COMMIT_BYTES", 2 * MIB)
    disk.data[:] = random.Random(3).randbytes(SIZE)
    flush = Qcow2Writer.flush

    def slow(image: Qcow2Writer) -> None:
        time.sleep(0.5)
        flush(image)

    monkeypatch.setattr(Qcow2Writer, "flush", slow)
    interrupted_at(disk, target, 0.8)
    done = sum(length for _, length in disk.reads)
    with journal_of(target, disk) as journal:
        assert done - journal.table.known_bytes <= 3 * (2 * MIB + (AHEAD + 2) * WINDOW)


def test_it_goes_on_where_nothing_was_committed_yet(disk: MemoryRanges, target: Path, tmp_path: Path) -> None:
    """The image holds more than the journal knows: the right bytes, which are written once more."""
    interrupted_at(disk, target, 0.7)
    with journal_of(target, disk) as journal:
        assert journal.table.known_bytes == 0
    assert qcow2.allocated(target) > MIB
    copy(disk, target)
    assert_equal(disk, target, tmp_path)


def test_a_copy_of_another_source_is_not_gone_on_with(disk: MemoryRanges, target: Path) -> None:
    interrupted_at(disk, target, 0.5)
    disk.identity = "something else"
    assert Journal.resume(target.with_suffix(".journal"), disk.identity, SIZE) is None


def test_two_copies_into_one_target(disk: MemoryRanges, target: Path, tmp_path: Path) -> None:
    """QEMU's lock on the image stands when a frozen worker still writes to it."""
    inside, go_on = threading.Event(), threading.Event()

    def before(offset: int, length: int) -> None:
        inside.set()
        go_on.wait(30)

    disk.before_fill = before
    first = threading.Thread(target=copy, args=(disk, target))
    first.start()
    try:
        assert inside.wait(30)
        other = MemoryRanges(disk.data)
        with (
            Journal.create(tmp_path / "other.journal", "x", SIZE) as journal,
            pytest.raises(TransientError, match="in use"),
        ):
            copy_disk(other, target, journal, progress=nothing, cancel=nothing)
    finally:
        go_on.set()
        first.join()
    assert_equal(disk, target, tmp_path)


def test_a_resumed_stream_writes_nothing_twice(
    disk: MemoryRanges, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "COMMIT_BYTES", MIB)
    whole = Writer(SIZE // 512, pieces(bytes(disk.data))).write()
    parts = [whole[: len(whole) // 2], whole]

    class Streamed:
        identity = disk.identity

        def open_stream(self) -> Memory:
            return Memory(parts.pop(0))

    with journal_of(target, disk) as journal, pytest.raises(TransferInterrupted):
        copy_disk(Streamed(), target, journal, progress=nothing, cancel=nothing)
    writes: list[int] = []
    write = Qcow2Writer.write

    def note(image: Qcow2Writer, data: memoryview, offset: int) -> None:
        writes.append(len(data))
        write(image, data, offset)

    monkeypatch.setattr(Qcow2Writer, "write", note)
    with journal_of(target, disk) as journal:
        known = journal.table.data_bytes
        assert known > 0
        manifest = copy_disk(Streamed(), target, journal, progress=nothing, cancel=nothing)
    assert sum(writes) == manifest.data_bytes - known
    assert_equal(disk, target, tmp_path)


def test_a_stream_that_changed_meanwhile_is_not_mixed(
    disk: MemoryRanges, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "COMMIT_BYTES", MIB)
    whole = Writer(SIZE // 512, pieces(bytes(disk.data))).write()
    first = next(iter(disk.areas()))
    disk.data[first.offset] ^= 1
    parts = [whole[: len(whole) // 2], Writer(SIZE // 512, pieces(bytes(disk.data))).write()]

    class Streamed:
        identity = disk.identity

        def open_stream(self) -> Memory:
            return Memory(parts.pop(0))

    with journal_of(target, disk) as journal, pytest.raises(TransferInterrupted):
        copy_disk(Streamed(), target, journal, progress=nothing, cancel=nothing)
    with journal_of(target, disk) as journal, pytest.raises(SourceChanged):
        copy_disk(Streamed(), target, journal, progress=nothing, cancel=nothing)


def test_the_second_reading_finds_a_flip_on_the_wire(disk: MemoryRanges, target: Path) -> None:
    """A flip inside a range of a flat file leaves no trace in the first reading."""
    copy(disk, target)
    with journal_of(target, disk) as journal:
        compared = read_again(disk, journal.table, "all", cancel=nothing)
        assert compared >= sum(area.length for area in disk.areas())
        area = list(disk.areas())[3]
        disk.data[area.offset + area.length // 2] ^= 0x10
        with pytest.raises(SourceChanged, match="twice"):
            read_again(disk, journal.table, "all", cancel=nothing)


def test_a_sample_reads_a_part(disk: MemoryRanges, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.data[:] = random.Random(4).randbytes(SIZE)
    copy(disk, target)
    disk.reads.clear()
    monkeypatch.setattr(copying, "SAMPLE_LEAST", 5)
    with journal_of(target, disk) as journal:
        assert read_again(disk, journal.table, "sample", cancel=nothing) <= 5 * MIB
        assert 0 < sum(length for _, length in disk.reads) <= 5 * MIB
        disk.data[:] = random.Random(5).randbytes(SIZE)
        with pytest.raises(SourceChanged):
            read_again(disk, journal.table, "sample", cancel=nothing)
