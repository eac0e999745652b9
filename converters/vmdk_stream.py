"""A streamOptimized VMDK, read once from front to back, as it comes from an export lease, an OVA or a file.

After the header come grains in ascending order, each behind a marker with its place, then their tables. Two forms
exist: a true stream (ESXi, ovftool) closes every 512 grains with their table and ends with the directory, a footer
and an end-of-stream marker; qemu-img writes the tables in front and may end without any marker. Either way the
tables must name exactly the grains that came, so a stream that was cut, edited or joined is not taken for whole.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import deflate

from app.domain.errors import TransferInterrupted
from app.ports.disks import ByteStream
from converters.vmdk import (
    GD_AT_END,
    MAX_DESCRIPTOR,
    SECTOR,
    TABLE_ENTRIES,
    Descriptor,
    SparseHeader,
    parse_descriptor,
    refuse,
)

_MARKER = struct.Struct("<QII")
_END, _TABLE, _DIRECTORY, _FOOTER, _PROGRESS = range(5)  # 4 is sent by newer hosts to keep a slow stream alive
_TABLE_BYTES = TABLE_ENTRIES * 4
_MAX_OPEN_TABLES = 4096  # tables that writers may hold back: 8 MiB of entries
_MAX_PADDING = 1 << 20  # zeros that may follow the end
_PLACE = (1 << 32) - 1  # table entries have 32 bits; past 2 TiB of stream they hold the low ones


@dataclass(frozen=True, slots=True)
class Grain:
    """Compressed guest data: zlib, inflating to the guest bytes from `offset` on."""

    offset: int
    data: bytes


def most_compressed(size: int) -> int:
    """The most that `size` bytes may take compressed: deflate adds at most 5 bytes for each stored block."""
    return size + size // 8 + 128


def inflate(grain: Grain, size: int, capacity: int) -> bytearray:
    """The guest's bytes of a grain of `size` bytes, cut at the end of a disk of `capacity` bytes."""
    wanted = min(size, capacity - grain.offset)
    try:
        data: bytearray = deflate.zlib_decompress(grain.data, size)
    except deflate.DeflateError as error:
        raise refuse(f"the grain at {grain.offset} does not inflate to {size} bytes") from error
    if len(data) not in (size, wanted):
        raise refuse(f"the grain at {grain.offset} inflates to {len(data)} bytes instead of {size}")
    del data[wanted:]
    return data


class StreamReader:
    """Iterate over the grains of one stream, in ascending order, each checked for its place and size.

    The iteration ends only when the stream proved to be whole. Raises UnsafeImage for what no honest writer writes
    and TransferInterrupted for a stream that ended early. Memory: 1 MiB, and 4 bytes for every 32 MiB of disk; a
    stream with its tables in front costs those as well (128 MiB for each TiB, as qemu-img writes them).
    """

    def __init__(self, stream: ByteStream, capacity: int) -> None:
        """Read up to the first grain. `capacity` in bytes is what the disk is known to have."""
        self._input = _Input(stream)
        self.header = SparseHeader.parse(self._input.take(SECTOR))
        if self.header.capacity_bytes != capacity:
            raise refuse(f"a capacity of {self.header.capacity_bytes} bytes, where the disk has {capacity}")
        overhead = memoryview(self._input.take((self.header.overhead - 1) * SECTOR))
        self.descriptor = _stream_descriptor(self.header, overhead)
        self._tables: _Tables = (
            _TrailingTables(self.header)
            if self.header.directory == GD_AT_END
            else _LeadingTables(self.header, overhead)
        )
        self._limit = self._input.position + 2 * capacity + (64 << 20)
        self._next = 0

    @property
    def wire_bytes(self) -> int:
        """Bytes of the stream used so far."""
        return self._input.position

    def inflate(self, grain: Grain) -> bytearray:
        """The guest's bytes of a grain, cut at the disk's end. Safe in any thread, and runs without the GIL."""
        return inflate(grain, self.header.grain_bytes, self.header.capacity_bytes)

    def __iter__(self) -> Iterator[Grain]:
        while not (self._tables.complete and self._input.ended()):
            place = self._input.position // SECTOR
            marker = self._input.take(SECTOR)
            value, size, kind = _MARKER.unpack_from(marker)
            if size:
                yield self._grain(place, value, size, marker)
            elif kind == _END:
                self._tables.end()
                self._padding(value)
                return
            elif kind != _PROGRESS or value:
                self._tables.marker(kind, value, self._input)
            if self._input.position > self._limit:
                raise refuse("it goes on and on")

    def _grain(self, place: int, value: int, size: int, marker: bytes) -> Grain:
        header = self.header
        number, rest = divmod(value, header.grain)
        if rest or value >= header.capacity:
            raise refuse(f"a grain at sector {value}")
        if number < self._next:
            raise refuse(f"the grain at sector {value} comes again or too late")
        if size > most_compressed(header.grain_bytes):
            raise refuse(f"a grain of {size} compressed bytes")
        self._next = number + 1
        self._tables.grain(number, place)
        inside = SECTOR - 12
        data = marker[12 : 12 + size]
        if size > inside:
            data += self._input.take(-(-(size - inside) // SECTOR) * SECTOR)[: size - inside]
        return Grain(value * SECTOR, data)

    def _padding(self, value: int) -> None:
        if value:
            raise refuse("a malformed end marker")
        start = self._input.position
        while not self._input.ended():
            if any(self._input.rest()) or self._input.position - start > _MAX_PADDING:
                raise refuse("bytes after its end")


def _stream_descriptor(header: SparseHeader, overhead: memoryview) -> Descriptor:
    start, size = header.descriptor - 1, header.descriptor_sectors
    if start < 0 or not 0 < size * SECTOR <= MAX_DESCRIPTOR or (start + size) * SECTOR > len(overhead):
        raise refuse("its descriptor is not in its header")
    descriptor = parse_descriptor(bytes(overhead[start * SECTOR : (start + size) * SECTOR]))
    if descriptor.create_type != "streamOptimized":
        raise refuse(f"type {descriptor.create_type} in a stream")
    if descriptor.parent:
        raise refuse("it depends on a parent disk")
    if descriptor.sectors != header.capacity:
        raise refuse(f"{descriptor.sectors} sectors in its descriptor and {header.capacity} in its header")
    return descriptor


class _Tables(Protocol):
    """What the grain tables say, held against the grains that came."""

    @property
    def complete(self) -> bool:
        """Whether the stream may end here without an end marker."""
        ...

    def grain(self, number: int, place: int) -> None: ...
    def marker(self, kind: int, sectors: int, source: _Input) -> None: ...
    def end(self) -> None: ...


class _TrailingTables:
    """Tables behind the grains they name; then the directory, the footer, the end."""

    complete = False

    def __init__(self, header: SparseHeader) -> None:
        self._header = header
        self._open: dict[int, array[int]] = {}
        self._directory = array("I", bytes(4 * header.tables))
        self._empty: set[int] = set()
        self._directory_place = 0
        self._footer = False

    def grain(self, number: int, place: int) -> None:
        if self._directory_place:
            raise refuse("a grain behind the directory")
        table, entry = divmod(number, TABLE_ENTRIES)
        if table not in self._open:
            if len(self._open) >= _MAX_OPEN_TABLES:
                raise refuse("grains without their tables")
            self._open[table] = array("I", bytes(_TABLE_BYTES))
        self._open[table][entry] = place & _PLACE

    def marker(self, kind: int, sectors: int, source: _Input) -> None:
        size = {_TABLE: _TABLE_BYTES, _DIRECTORY: 4 * self._header.tables, _FOOTER: SECTOR}.get(kind)
        if size is None or sectors != -(-size // SECTOR):
            raise refuse(f"a marker of type {kind} for {sectors} sectors")
        place = source.position // SECTOR
        data = source.take(sectors * SECTOR)
        if kind == _TABLE:
            self._table(data, place)
        elif kind == _DIRECTORY:
            self._check_directory(data, place)
        else:
            self._check_footer(data)

    def end(self) -> None:
        if not self._footer:
            raise refuse("it ends without a footer")

    def _table(self, data: bytes, place: int) -> None:
        if self._directory_place:
            raise refuse("a table behind the directory")
        if any(data):
            oldest = next(iter(self._open), None)
            if oldest is None or self._open.pop(oldest).tobytes() != data:
                raise refuse("a grain table does not name the grains that came")
            self._directory[oldest] = place & _PLACE
        elif len(self._empty) < len(self._directory):
            self._empty.add(place & _PLACE)
        else:
            raise refuse("more grain tables than the disk can have")

    def _check_directory(self, data: bytes, place: int) -> None:
        if self._directory_place:
            raise refuse("a second directory")
        if self._open:
            raise refuse("grains without their tables")
        said = array("I", data)
        seen = self._directory
        if any(said[len(seen) :]) or any(
            a != b and (b or a not in self._empty) for a, b in zip(said, seen, strict=False)
        ):
            raise refuse("its directory does not name the tables that came")
        self._directory_place = place

    def _check_footer(self, data: bytes) -> None:
        footer = SparseHeader.parse(data)
        header = self._header
        if self._footer or not self._directory_place or footer.directory != self._directory_place:
            raise refuse("its footer does not name the directory that came")
        if (footer.capacity, footer.grain, footer.version) != (header.capacity, header.grain, header.version):
            raise refuse("its footer contradicts its header")
        self._footer = True


class _LeadingTables:
    """Tables in front of the data: what will come is known."""

    def __init__(self, header: SparseHeader, overhead: memoryview) -> None:
        entries = overhead.cast("I")
        start = (header.directory - 1) * SECTOR // 4
        self._directory = entries[start : start + header.tables]
        self._entries = entries
        if len(self._directory) != header.tables:
            raise refuse("its directory is not in its header")
        self._missing = 0
        for place in set(self._directory) - {0}:
            table = entries[(place - 1) * SECTOR // 4 :][:TABLE_ENTRIES]
            if len(table) != TABLE_ENTRIES:
                raise refuse("a grain table is not in its header")
            self._missing += TABLE_ENTRIES - table.tolist().count(0)

    @property
    def complete(self) -> bool:
        return not self._missing

    def grain(self, number: int, place: int) -> None:
        table, entry = divmod(number, TABLE_ENTRIES)
        start = self._directory[table]
        if not start or self._entries[(start - 1) * SECTOR // 4 + entry] != place & _PLACE:
            raise refuse("a grain that its tables do not name")
        self._missing -= 1

    def marker(self, kind: int, sectors: int, source: _Input) -> None:
        raise refuse(f"a marker of type {kind} for {sectors} sectors behind leading tables")

    def end(self) -> None:
        if self._missing:
            raise refuse(f"{self._missing} grains that its tables name are missing")


class _Input:
    """Exact reads from a stream whose reads may be short."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = memoryview(bytearray(1 << 20))
        self._start = self._end = 0
        self.position = 0  # bytes taken

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises TransferInterrupted where the stream ends before."""
        if size <= self._end - self._start:
            return self._cut(size)
        parts = bytearray()
        while missing := size - len(parts):
            if self.ended():
                raise TransferInterrupted(
                    f"the disk's stream ended after {self.position} bytes, in the middle of it", "It is read again."
                )
            parts += self._cut(min(missing, self._end - self._start))
        return bytes(parts)

    def rest(self) -> bytes:
        """What has been read and not been taken yet."""
        return self._cut(self._end - self._start)

    def ended(self) -> bool:
        """Whether there is nothing more, which may have to be read for."""
        if self._start == self._end:
            self._start, self._end = 0, self._stream.readinto(self._buffer)
        return self._start == self._end

    def _cut(self, size: int) -> bytes:
        data = bytes(self._buffer[self._start : self._start + size])
        self._start += size
        self.position += size
        return data
