"""A disk copied by us is the disk, whoever wrote the stream; and a copy that is not is noticed."""

from __future__ import annotations

import os
import random
import signal
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.domain.errors import (
    Cancelled,
    Conflict,
    CopyMismatch,
    InvalidRequest,
    NoSpace,
    Parked,
    TransferInterrupted,
    UnsafeImage,
)
from app.domain.models import ImageOptions
from app.process import run
from converters import qcow2
from converters.qcow2_writer import Qcow2Writer
from converters.qemu_nbd import open_nbd
from tests.component.test_qcow2 import servers_of
from tests.hostile.streams import Memory, Writer, pieces
from workers.transfer.copy import CopyProgress, copy_disk
from workers.transfer.journal import Journal
from workers.transfer.manifest import EXTENT, Manifest
from workers.transfer.verify import VerifyResult, verify_copy

MIB = 1 << 20
SIZE = 150 * MIB + 3 * 512


def nothing(*_: object) -> None: ...


@dataclass(frozen=True)
class OneStream:
    """A StreamDisk that can be opened once."""

    stream: Memory
    identity: str = "this one"

    def open_stream(self) -> Memory:
        return self.stream


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, text, holes, written zeros and single sectors; data in the last sector."""
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    source = random.Random(5)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for start in range(0, SIZE - MIB, MIB):
            file.seek(start)
            kind = source.randrange(5)
            if kind == 0:
                file.write(source.randbytes(MIB))
            elif kind == 1:
                file.write(b"%020d" % start * 20_000)
            elif kind == 2:
                file.write(bytes(MIB))
            elif kind == 3:
                file.seek(start + source.randrange(2000) * 512)
                file.write(b"x" * 512)
        file.seek(SIZE - 512)
        file.write(b"end" * 170)
    return path


@pytest.fixture(scope="module")
def esxi(raw: Path) -> bytes:
    """The disk as a stream with its tables behind the data."""
    return Writer(SIZE // 512, pieces(raw.read_bytes())).write()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.qcow2"
    qcow2.create(path, SIZE)
    return path


def copy(
    stream: Memory,
    target: Path,
    cancel: Callable[[], None] = nothing,
    progress: Callable[[CopyProgress], None] = nothing,
    *,
    size: int = SIZE,
    image: ImageOptions = ImageOptions(),  # noqa: B008
) -> Manifest:
    before = threading.active_count()
    try:
        with Journal.create(target.with_suffix(".journal"), "this one", size) as journal:
            return copy_disk(
                OneStream(stream), target, journal, image=image, progress=progress, cancel=cancel, name="2000"
            )
    finally:
        assert threading.active_count() == before
        assert servers_of(target) == []


def verify(target: Path, manifest: Manifest) -> VerifyResult:
    return verify_copy(target, manifest, progress=nothing, cancel=nothing)


def identical(raw: Path, target: Path) -> bool:
    done = run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, target], ok=(0, 1))
    return done.returncode == 0


def test_round_trip_of_an_esxi_stream(raw: Path, esxi: bytes, target: Path) -> None:
    seen: list[CopyProgress] = []
    manifest = copy(Memory(esxi), target, progress=seen.append)
    assert identical(raw, target)
    assert qcow2.check(target) == qcow2.ImageCheck(0, 0)
    assert manifest.wire_bytes == len(esxi)
    assert seen[-1] == CopyProgress(manifest.data_bytes, SIZE - manifest.data_bytes, len(esxi))
    result = verify(target, manifest)
    assert result.bytes_read + result.bytes_skipped == SIZE
    assert result.bytes_skipped > 20 * MIB
    assert result.digest == manifest.digest


def test_round_trip_of_a_qemu_stream(raw: Path, target: Path, tmp_path: Path) -> None:
    vmdk = tmp_path / "disk.vmdk"
    run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk])
    manifest = copy(Memory(vmdk.read_bytes()), target)
    assert identical(raw, target)
    verify(target, manifest)


def test_the_manifest_is_the_disks_whoever_wrote_the_stream(
    esxi: bytes, raw: Path, target: Path, tmp_path: Path
) -> None:
    """Grains of 8 sectors, a manifest that went through a file, a target in raw form: the same hashes."""
    manifest = copy(Memory(esxi), target)
    manifest.save(tmp_path / "m.json")
    again = tmp_path / "again.qcow2"
    qcow2.create(again, SIZE)
    small = Writer(SIZE // 512, pieces(raw.read_bytes(), 4096), grain=8).write()
    assert copy(Memory(small), again).digest == manifest.digest
    loaded = Manifest.load(tmp_path / "m.json")
    assert verify_copy(raw, loaded, format="raw", progress=nothing, cancel=nothing).digest == manifest.digest


def test_what_was_written_is_flushed(esxi: bytes, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    write, flush = Qcow2Writer.write, Qcow2Writer.flush

    def note_write(image: Qcow2Writer, data: memoryview, offset: int) -> None:
        write(image, data, offset)
        calls.append("write")

    def note_flush(image: Qcow2Writer) -> None:
        flush(image)
        calls.append("flush")

    monkeypatch.setattr(Qcow2Writer, "write", note_write)
    monkeypatch.setattr(Qcow2Writer, "flush", note_flush)
    copy(Memory(esxi), target)
    assert calls.count("write") > 10
    assert calls[-1] == "flush"


def test_an_empty_disk(target: Path) -> None:
    manifest = copy(Memory(Writer(SIZE // 512, []).write()), target)
    assert manifest.digests == b""
    assert verify(target, manifest) == VerifyResult(0, SIZE, manifest.digest)
    assert qcow2.allocated(target) < MIB


def test_zeros_are_not_written(esxi: bytes, target: Path) -> None:
    """Zeros that a writer sent as grains cost nothing in the target."""
    grain = zlib.compress(bytes(65536))
    sent = [(sector, grain) for sector in range(0, SIZE // 512, 128)]
    manifest = copy(Memory(Writer(SIZE // 512, sent).write()), target)
    assert manifest.data_bytes == 0
    assert qcow2.allocated(target) < MIB


@pytest.mark.parametrize("place", [0, 77 * MIB + 13, SIZE - 1], ids=["first", "middle", "last"])
def test_one_changed_byte_is_found(esxi: bytes, target: Path, place: int) -> None:
    manifest = copy(Memory(esxi), target)
    sector = place // 512 * 512
    with open_nbd(target, writable=True) as image:
        data = image.read(512, sector)
        data[place - sector] ^= 1
        image.write(data, sector)
        image.flush()
    with pytest.raises(CopyMismatch, match="disk 2000") as caught:
        verify(target, manifest)
    assert caught.value.fields["offsets"] == [place // EXTENT * EXTENT]


def test_a_target_that_lost_its_data_is_found(esxi: bytes, target: Path) -> None:
    manifest = copy(Memory(esxi), target)
    qcow2.create(target, SIZE)
    with pytest.raises(CopyMismatch) as caught:
        verify(target, manifest)
    assert len(caught.value.fields["offsets"]) == 8
    qcow2.create(target, SIZE + 512)
    with pytest.raises(CopyMismatch, match="bytes"):
        verify(target, manifest)


def test_a_target_that_is_not_empty_is_refused(esxi: bytes, target: Path) -> None:
    with open_nbd(target, writable=True) as image:
        image.write(b"old" + bytes(509), 140 * MIB)
        image.flush()
    with pytest.raises(Conflict, match="not empty"):
        copy(Memory(esxi), target)


def test_a_target_of_another_size_is_refused(esxi: bytes, target: Path) -> None:
    qcow2.create(target, SIZE + MIB)
    with pytest.raises(Conflict, match="bytes"):
        copy(Memory(esxi), target)


def test_a_target_with_a_backing_file_is_refused(esxi: bytes, raw: Path, target: Path) -> None:
    qcow2.create_overlay(target, raw, "raw")
    with pytest.raises(UnsafeImage):
        copy(Memory(esxi), target)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_stream_that_ends_early(esxi: bytes, target: Path, share: float) -> None:
    with pytest.raises(TransferInterrupted, match="ended after"):
        copy(Memory(esxi[: int(len(esxi) * share)]), target)


def test_a_stream_that_changed_on_the_way(esxi: bytes, target: Path) -> None:
    damaged = bytearray(esxi)
    damaged[len(esxi) // 2] ^= 0x40
    with pytest.raises(UnsafeImage):
        copy(Memory(bytes(damaged)), target)


def test_a_full_file_system(esxi: bytes, small_file_system: Path) -> None:
    target = small_file_system / "target.qcow2"
    qcow2.create(target, SIZE)
    with pytest.raises(NoSpace, match=str(target)):
        copy(Memory(esxi), target)


class Midway(Memory):
    """Does something once when half of the stream was read."""

    def __init__(self, data: bytes, action: Callable[[], None]) -> None:
        super().__init__(data)
        self._action: Callable[[], None] | None = action

    def readinto(self, buffer: memoryview) -> int:
        if self._action and self.tell() > len(self.getvalue()) // 2:
            action, self._action = self._action, None
            action()
        return super().readinto(buffer)


COMPRESSED = ImageOptions(compressed=True)
WHOLE = 150 * MIB  # QEMU compresses whole clusters only


@pytest.fixture
def for_qemu(raw: Path, target: Path) -> bytes:
    """A stream for a target that QEMU compresses, so that a server writes it."""
    qcow2.create(target, WHOLE, COMPRESSED)
    return Writer(WHOLE // 512, pieces(raw.read_bytes()[:WHOLE])).write()


def server_of(target: Path) -> int:
    """The process id of the qemu-nbd that compresses."""
    found = [int(entry.parent.name) for entry in Path("/proc").glob("[0-9]*/cmdline") if serves(entry, target)]
    return found[0]


def serves(entry: Path, target: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        words = entry.read_bytes()
        return b"driver=compress" in words and os.fsencode(target) in words
    return False


def test_a_server_that_is_killed(for_qemu: bytes, target: Path) -> None:
    stream = Midway(for_qemu, lambda: os.kill(server_of(target), signal.SIGKILL))
    with pytest.raises(TransferInterrupted, match="qemu-nbd has ended"):
        copy(stream, target, size=WHOLE, image=COMPRESSED)


@pytest.mark.parametrize("reason", [Cancelled("stop"), Parked()])
def test_cancel_passes_through(esxi: bytes, target: Path, reason: BaseException) -> None:
    wanted = threading.Event()

    def cancel() -> None:
        if wanted.is_set():
            raise reason

    with pytest.raises(type(reason)):
        copy(Midway(esxi, wanted.set), target, cancel)


def test_cancel_while_the_target_hangs(for_qemu: bytes, target: Path) -> None:
    """A stopped qemu-nbd stands for storage that no longer answers."""
    hung = threading.Event()

    def hang() -> None:
        os.kill(server_of(target), signal.SIGSTOP)
        hung.set()

    def cancel() -> None:
        if hung.is_set():
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        copy(Midway(for_qemu, hang), target, cancel, size=WHOLE, image=COMPRESSED)


def test_cancel_of_the_verification(esxi: bytes, target: Path) -> None:
    manifest = copy(Memory(esxi), target)

    def cancel() -> None:
        raise Parked

    with pytest.raises(Parked):
        verify_copy(target, manifest, progress=nothing, cancel=cancel)
    assert servers_of(target) == []


def test_a_manifest_of_nonsense_is_no_reason_to_open_the_target(target: Path, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(InvalidRequest):
        verify(target, Manifest.load(tmp_path / "m.json"))
