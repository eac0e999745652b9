"""Streams of honest writers are read whatever their shape; one that changed on the way never gives other bytes."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import TransferInterrupted, UnsafeImage, VmferryError
from converters.vmdk_stream import StreamReader
from tests.hostile import corpus
from tests.hostile.streams import GRAIN, SECTOR, Memory, Writer, leading, marker, padded, pieces


def decode(stream: bytes, capacity: int) -> bytes:
    reader = StreamReader(Memory(stream), capacity)
    out = bytearray(capacity)
    for grain in reader:
        data = reader.inflate(grain)
        out[grain.offset : grain.offset + len(data)] = data
    assert reader.wire_bytes == len(stream)
    return bytes(out)


def contents(stream: bytes) -> list[tuple[int, bytes]]:
    """The grains of a stream of the corpus's disk: cheaper than the whole disk."""
    reader = StreamReader(Memory(stream), corpus.CAPACITY)
    return [(grain.offset, bytes(reader.inflate(grain))) for grain in reader]


CONTENTS = contents(corpus.WHOLE)


@pytest.mark.parametrize("size", [SECTOR, GRAIN - SECTOR, GRAIN, 5 * GRAIN + 3 * SECTOR, (32 << 20) + SECTOR])
@pytest.mark.parametrize("fill", [b"\0", b"a"])
def test_sizes(size: int, fill: bytes) -> None:
    disk = fill * size
    assert decode(Writer(size // SECTOR, pieces(disk)).write(), size) == disk


def test_a_last_grain_that_ends_with_the_disk() -> None:
    disk = random.Random(1).randbytes(GRAIN + SECTOR)
    short = (128, zlib.compress(disk[GRAIN:]))
    assert decode(Writer(129, [pieces(disk)[0], short]).write(), len(disk)) == disk


@pytest.mark.parametrize("sectors", [8, 16, 32, 64])
def test_smaller_grains(sectors: int) -> None:
    disk = random.Random(2).randbytes(sectors * SECTOR * 3) + bytes(sectors * SECTOR * 4)
    stream = Writer(len(disk) // SECTOR, pieces(disk, sectors * SECTOR), grain=sectors).write()
    assert decode(stream, len(disk)) == disk


def test_incompressible_grains() -> None:
    disk = random.Random(3).randbytes(4 * GRAIN)
    grains = [(i * 128, zlib.compress(disk[i * GRAIN : (i + 1) * GRAIN], 0)) for i in range(4)]
    assert decode(Writer(512, grains).write(), len(disk)) == disk


def test_progress_markers_empty_tables_and_padding_are_passed_over() -> None:
    stream = Writer(
        corpus.SECTORS,
        corpus.GRAINS,
        before_directory=marker(0, 4) * 3 + marker(4, 1) + padded([0] * 512),
        end=bytes(128 * SECTOR),
    ).write()
    assert decode(stream, corpus.CAPACITY) == corpus.DISK


def test_a_directory_may_name_an_empty_table() -> None:
    """Some writers keep a table for 32 MiB of zeros."""
    place = 0

    def name_it(directory: list[int]) -> list[int]:
        return [directory[0], place, directory[2]]

    writer = Writer(corpus.SECTORS, corpus.GRAINS, before_directory=marker(4, 1) + padded([0] * 512), directory=name_it)
    place = writer.write().index(marker(1, 2)) // SECTOR - 4
    assert decode(writer.write(), corpus.CAPACITY) == corpus.DISK


@pytest.mark.parametrize("end", [b"", bytes(SECTOR), bytes(100 * SECTOR)])
def test_leading_tables(end: bytes) -> None:
    small = corpus.DISK[: 32 << 20]
    assert decode(leading(small) + end, len(small)) == small


def test_a_stream_that_breaks_passes_its_own_error_on() -> None:
    class Broken(Memory):
        def readinto(self, buffer: memoryview) -> int:
            if self.tell() > 100_000:
                raise TransferInterrupted("connection reset")
            return super().readinto(buffer)

    with pytest.raises(TransferInterrupted, match="connection reset"):
        list(StreamReader(Broken(corpus.WHOLE), corpus.CAPACITY))


def test_another_capacity() -> None:
    with pytest.raises(UnsafeImage, match="where the disk has"):
        StreamReader(Memory(corpus.WHOLE), corpus.CAPACITY + SECTOR)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(corpus.WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_without_effect(place: int, change: int) -> None:
    stream = bytearray(corpus.WHOLE)
    stream[place] ^= change
    try:
        assert contents(bytes(stream)) == CONTENTS
    except VmferryError:
        return


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_spliced_sectors_are_refused_or_without_effect(data: st.DataObject) -> None:
    """Sectors dropped, repeated or moved: what a broken proxy or a hand-made file may hold."""
    total = len(corpus.WHOLE) // SECTOR
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, min(total, start + 300)))
    to = data.draw(st.integers(0, total))
    cut = corpus.WHOLE[start * SECTOR : stop * SECTOR]
    rest = corpus.WHOLE[: start * SECTOR] + corpus.WHOLE[stop * SECTOR :]
    stream = rest[: to * SECTOR] + cut * data.draw(st.integers(0, 2)) + rest[to * SECTOR :]
    try:
        assert contents(stream) == CONTENTS
    except VmferryError:
        return


@settings(deadline=None)
@given(st.binary(max_size=5000))
def test_any_bytes_behind_the_header(data: bytes) -> None:
    with pytest.raises((UnsafeImage, TransferInterrupted)):
        contents(corpus.WHOLE[: 128 * SECTOR] + data)
