"""What we write as a qcow2 is one to QEMU, whatever comes in whatever order, and after a crash at any moment."""

from __future__ import annotations

import mmap
import os
import random
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.errors import NoSpace, TransferInterrupted, TransientError, UnsafeImage
from app.domain.models import ImageOptions
from app.process import run
from converters import qcow2, qcow2_writer
from converters.direct_file import DirectFile, open_direct
from converters.image_writer import open_writer
from converters.qcow2_writer import Qcow2Writer
from converters.qemu_nbd import open_nbd

MIB = 1 << 20
CELL = 64 << 10


def page_aligned(data: bytes) -> memoryview:
    view = memoryview(mmap.mmap(-1, len(data)))
    view[:] = data
    return view


class Disk:
    """An image, and beside it the raw file that it should equal."""

    def __init__(self, folder: Path, chance: random.Random, options: ImageOptions, size: int) -> None:
        self.path, self.raw = folder / "a.qcow2", folder / "a.raw"
        self.size = size
        self._chance = chance
        qcow2.create(self.path, size, options)
        with self.raw.open("wb") as file:
            file.truncate(size)

    def piece(self) -> tuple[int, bytes]:
        offset = self._chance.randrange(-(-self.size // CELL)) * CELL
        return offset, self._chance.randbytes(min(self._chance.randrange(1, 9) * CELL, self.size - offset))

    def note(self, offset: int, data: bytes) -> None:
        with self.raw.open("r+b") as file:
            os.pwrite(file.fileno(), data, offset)

    def assert_equal(self) -> None:
        assert qcow2.check(self.path) == qcow2.ImageCheck(0, 0)
        run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", self.path, self.raw])


@pytest.mark.parametrize("seed", range(24))
def test_random_images(tmp_path: Path, seed: int) -> None:
    """All cluster sizes and preallocations, several sessions, odd sizes, and disks that need more refcounts."""
    chance = random.Random(seed)
    options = ImageOptions(
        cluster_kib=chance.choice([4, 16, 32, 64, 64, 64, 128, 512, 2048]),
        preallocation=chance.choice(["off", "off", "off", "metadata", "falloc"]),
    )
    size = chance.choice(
        [chance.randrange(1, 300) * MIB, chance.randrange(1, 200) * MIB + 512 * chance.randrange(2048)]
    )
    disk = Disk(tmp_path, chance, options, size if options.preallocation != "off" or seed % 3 else 20 << 30)
    for _ in range(chance.randrange(1, 4)):
        with open_writer(disk.path, options, connections=1) as writer:
            assert writer.size == disk.size
            for _ in range(chance.randrange(1, 40)):
                offset, data = disk.piece()
                writer.write(page_aligned(data) if chance.random() < 0.8 else memoryview(data), offset)
                disk.note(offset, data)
                if chance.random() < 0.1:
                    writer.flush()
            writer.flush()
    disk.assert_equal()


@pytest.mark.parametrize(("kept", "dirty"), [(64, 512), (1, 2)], ids=["tables in memory", "tables come and go"])
def test_many_threads(tmp_path: Path, kept: int, dirty: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write while one flushes."""
    monkeypatch.setattr(qcow2_writer, "_KEPT", kept)
    monkeypatch.setattr(qcow2_writer, "_DIRTY", dirty)
    disk = Disk(tmp_path, random.Random(1), ImageOptions(cluster_kib=4), 64 * MIB)
    content = random.Random(2).randbytes(64 * MIB)
    disk.note(0, content)
    with open_writer(disk.path, ImageOptions(), connections=4) as writer:

        def work(first: int) -> None:
            places = list(range(first * CELL, 64 * MIB, 4 * CELL))
            random.Random(first).shuffle(places)
            for place in places:
                writer.write(page_aligned(content[place : place + CELL]), place)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            writer.flush()
        for thread in threads:
            thread.join()
        writer.flush()
    disk.assert_equal()


class PowerCut(Exception):
    pass


class Storage(DirectFile):
    """A file that loses power at its `left`-th change. Of what no sync covered, a part chosen by chance is on disk."""

    def __init__(self, path: Path, handle: int, left: int, chance: random.Random) -> None:
        super().__init__(path, handle, handle)
        self._left = left
        self._chance = chance
        self._pending: list[Callable[[int], object]] = []
        self._durable = path.with_suffix(".durable")
        self._durable.write_bytes(path.read_bytes())

    def write(self, data: memoryview, place: int) -> None:
        super().write(data, place)
        self._change(data, place, 4096)

    def patch(self, data: bytes | memoryview, place: int) -> None:
        super().patch(data, place)
        self._change(data, place, 512)

    def resize(self, size: int) -> None:
        super().resize(size)
        self._pending.append(lambda file: os.ftruncate(file, size))
        self._count()

    def sync(self) -> None:
        self._apply(1.0)
        self._count()

    def _change(self, data: bytes | memoryview, place: int, atom: int) -> None:
        """A write may be torn between sectors or blocks."""
        for start in range(0, len(data), atom):
            part = bytes(data[start : start + atom])
            self._pending.append(lambda file, part=part, at=place + start: os.pwrite(file, part, at))
        self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._apply(self._chance.choice([0.1, 0.5, 0.9]))
            self.path.write_bytes(self._durable.read_bytes())
            raise PowerCut

    def _apply(self, share: float) -> None:
        with self._durable.open("r+b") as file:
            for change in self._pending:
                if self._chance.random() < share:
                    change(file.fileno())
        self._pending.clear()


@pytest.mark.parametrize("seed", range(40))
def test_power_cuts(tmp_path: Path, seed: int) -> None:
    """What was flushed is there after a cut at any moment, and the image can be gone on with."""
    chance = random.Random(seed)
    options = ImageOptions(cluster_kib=chance.choice([4, 64, 64, 512]))
    disk = Disk(tmp_path, chance, options, chance.choice([30 * MIB, 300 * MIB + 512, 40 << 30]))
    pieces = [disk.piece() for _ in range(30)]
    flushed = 0
    cuts = 0
    for left in [chance.randrange(1, 60), chance.randrange(1, 120), 1 << 30]:
        handle = os.open(disk.path, os.O_RDWR)
        try:
            writer = Qcow2Writer(Storage(disk.path, handle, left, chance))
            for number in range(flushed, len(pieces)):
                writer.write(memoryview(pieces[number][1]), pieces[number][0])
                if chance.random() < 0.2 or number == len(pieces) - 1:
                    writer.flush()
                    for offset, data in pieces[flushed : number + 1]:
                        disk.note(offset, data)
                    flushed = number + 1
            writer.close()
        except PowerCut:
            cuts += 1
        finally:
            os.close(handle)
        qcow2.mend(disk.path)
        assert qcow2.check(disk.path) == qcow2.ImageCheck(0, 0)
        with open_nbd(disk.path) as image:
            overwritten = [range(offset, offset + len(data)) for offset, data in pieces[flushed:]]
            for offset, data in pieces[:flushed]:
                for start in range(offset, offset + len(data), CELL):
                    if not any(start in other for other in overwritten):
                        size = min(CELL, offset + len(data) - start)
                        expected = os.pread(raw := os.open(disk.raw, os.O_RDONLY), size, start)
                        os.close(raw)
                        assert image.read(size, start) == expected
    assert cuts
    disk.assert_equal()


def test_after_a_crash_nothing_unused_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, 64 * MIB)
    with suppress(PowerCut), open_writer(path, ImageOptions(), connections=1) as writer:
        writer.write(page_aligned(os.urandom(MIB)), 0)
        writer.flush()
        writer.write(page_aligned(os.urandom(8 * MIB)), 8 * MIB)
        raise PowerCut
    assert qcow2.allocated(path) > 9 * MIB
    qcow2.mend(path)
    assert qcow2.allocated(path) < 2 * MIB
    assert qcow2.check(path) == qcow2.ImageCheck(0, 0)


def test_raw_files_and_what_is_blank(tmp_path: Path) -> None:
    for format in ("raw", "qcow2"):
        path = tmp_path / f"a.{format}"
        options = ImageOptions.model_validate({"format": format})
        qcow2.create(path, 5 * MIB + 512, options)
        assert qcow2.is_blank(path, options.format)
        with open_writer(path, options, connections=1) as writer:
            assert writer.size == 5 * MIB + 512
            writer.write(page_aligned(b"x" * (MIB + 512)), 4 * MIB)
            writer.flush()
        assert not qcow2.is_blank(path, options.format)
        with open_nbd(path, format=options.format) as image:
            assert image.read(MIB + 512, 4 * MIB) == b"x" * (MIB + 512)
            assert image.read(4 * MIB, 0) == bytes(4 * MIB)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_full_file_system(small_file_system: Path, format: str) -> None:
    path = small_file_system / "a.img"
    options = ImageOptions.model_validate({"format": format})
    qcow2.create(path, 64 * MIB, options)

    def fill() -> None:
        with open_writer(path, options, connections=1) as writer:
            for place in range(0, 64 * MIB, MIB):
                writer.write(page_aligned(os.urandom(MIB)), place)
            writer.flush()

    with pytest.raises(NoSpace, match=str(path)):
        fill()


def test_nobody_else_may_use_it(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, MIB)
    with open_direct(path, writable=True):
        with pytest.raises(TransientError, match="in use"), open_direct(path, writable=True):
            pass
        with pytest.raises(TransientError, match="in use"):
            qcow2.check(path)
    with open_nbd(path, writable=True), pytest.raises(TransientError, match="in use"), open_direct(path, writable=True):
        pass
    assert qcow2.check(path) == qcow2.ImageCheck(0, 0)


def test_what_is_given_up_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, MIB)
    before = path.read_bytes()
    with open_direct(path, writable=True) as file:
        writer = Qcow2Writer(file)
        writer.kill()
        with pytest.raises(TransferInterrupted, match="given up"):
            writer.write(memoryview(b"x" * CELL), 0)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", [4, 20, 60, 72, 96], ids=["version", "clusters", "snapshots", "features", "counts"])
def test_images_of_others_are_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, MIB)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, place, 2 if place == 4 else 40)
    path.write_bytes(data)
    with (
        pytest.raises(UnsafeImage, match="not an image that vmferry made"),
        open_writer(path, ImageOptions(), connections=1),
    ):
        pass


def test_compressed_clusters_are_not_taken(tmp_path: Path) -> None:
    source, path = tmp_path / "a.raw", tmp_path / "a.qcow2"
    source.write_bytes(b"text" * (MIB // 4))
    run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", source, path])
    with pytest.raises(UnsafeImage), open_writer(path, ImageOptions(), connections=1) as writer:
        writer.write(memoryview(bytes(CELL)), 0)
