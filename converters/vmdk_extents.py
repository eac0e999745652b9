"""The extents of a VMDK: guest bytes in one file each, flat, sparse, or compressed in grains.

Layouts: VMware's "Virtual Disk Format 5.0", for hosted products and for ESX Server (COWD). seSparse is in no document
of VMware's: it is read in the one form that qemu knows, any other is refused. Offsets are bytes of the extent.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from converters.folder import File
from converters.grain_map import ABSENT, MAX_TABLES, ZEROS, GrainMap, Layout
from converters.vmdk import GD_AT_END, MAX_CAPACITY, SECTOR, TABLE_ENTRIES, SparseHeader, refuse
from converters.vmdk_stream import Grain, inflate, most_compressed

NO_DATA = -1  # a place in no file: nothing is there, and a parent may have it
ZERO_DATA = -2  # these are zeros, whatever a parent has
_WINDOW = 1 << 20
_COWD_ENTRIES, _WIDE_ENTRIES = 4096, 4096

_GRAIN_MARKER = struct.Struct("<QI")
_FOOTER_MARKER = struct.pack("<QII", 1, 0, 3).ljust(SECTOR, b"\0")
_COWD = struct.Struct("<4s7I")
_COWD_UNCLEAN = struct.Struct("<I")  # at byte 1648 of its header of 2048 bytes
_WIDE = struct.Struct("<26Q")
_WIDE_STATE = struct.Struct("<4Q")
_WIDE_MAGIC, _WIDE_STATE_MAGIC, _WIDE_VERSION = 0xCAFEBABE, 0xCAFECAFE, 0x200000001

UNCLEAN = "Open and close the disk where it ran: start the VM there and shut it down. Then copy it again."


class Span(NamedTuple):
    """Guest bytes from `start` to before `end` that an extent has: data, or explicit zeros."""

    start: int
    end: int
    zeros: bool


class Scratch:
    """What one reader remembers: the table it reads through, of each extent, and the last of a compressed one."""

    def __init__(self) -> None:
        self.tables: dict[int, tuple[int, Sequence[int] | None]] = {}
        self.window: tuple[int, int, bytes] = (-1, 0, b"")
        self.grain: tuple[int, int, bytearray] = (-1, -1, bytearray())


class Extent(Protocol):
    length: int
    file: File

    def check(self) -> None:
        """Read all of its metadata. Raises UnsafeImage."""
        ...

    def spans(self) -> Iterator[Span]: ...
    def look(self, offset: int, length: int, scratch: Scratch) -> Iterator[tuple[int, int]]:
        """(length, place) of what follows from `offset` on; a place is NO_DATA, ZERO_DATA or for `fill` to know."""
        ...

    def fill(self, offset: int, place: int, buffer: memoryview, scratch: Scratch) -> None: ...


class FlatExtent:
    def __init__(self, file: File, sectors: int, offset: int = 0) -> None:
        self.file = file
        self.length = sectors * SECTOR
        self._offset = offset * SECTOR
        if self._offset + self.length > file.size:
            raise refuse(
                f"{file.name} has {file.size} bytes, where {self._offset + self.length} are due",
                "The file is shorter than it was: copy it again, and compare the sizes.",
            )

    def check(self) -> None:
        """Its size is all there is."""

    def spans(self) -> Iterator[Span]:
        for start, end in self.file.data(self._offset, self.length):
            yield Span(start - self._offset, end - self._offset, zeros=False)

    def look(self, offset: int, length: int, scratch: Scratch) -> Iterator[tuple[int, int]]:
        yield length, self._offset + offset

    def fill(self, offset: int, place: int, buffer: memoryview, scratch: Scratch) -> None:
        self.file.fill(buffer, place)


class SparseExtent:
    def __init__(self, file: File, layout: Layout) -> None:
        self.file = file
        self.length = layout.capacity * SECTOR
        self._map = GrainMap(file, layout)
        self._grain = layout.grain
        self._entries = layout.entries
        self._step = 0 if layout.compressed else layout.grain

    def check(self) -> None:
        self._map.check()

    def spans(self) -> Iterator[Span]:
        size = self._grain * SECTOR
        for first, count, place in self._map.runs():
            yield Span(first * size, min((first + count) * size, self.length), place == ZEROS)

    def look(self, offset: int, length: int, scratch: Scratch) -> Iterator[tuple[int, int]]:
        size, end = self._grain * SECTOR, offset + length
        while offset < end:
            number, inside = divmod(offset, size)
            index, entry = divmod(number, self._entries)
            entries = self._table(index, scratch)
            if entries is None:
                stop = (index + 1) * self._entries * size
                place = NO_DATA
            else:
                first = entries[entry]
                count = self._neighbours(entries, entry, -(-(end - number * size) // size))
                stop = (number + count) * size
                place = NO_DATA if first == ABSENT else ZERO_DATA if first == ZEROS else first * SECTOR + inside
            stop = min(stop, end)
            yield stop - offset, place
            offset = stop

    def fill(self, offset: int, place: int, buffer: memoryview, scratch: Scratch) -> None:
        self.file.fill(buffer, place)

    def _table(self, index: int, scratch: Scratch) -> Sequence[int] | None:
        known = scratch.tables.get(id(self))
        if known is None or known[0] != index:
            known = scratch.tables[id(self)] = (index, self._map.table(index))
        return known[1]

    def _neighbours(self, entries: Sequence[int], entry: int, most: int) -> int:
        """How many grains from `entry` on are one run: all absent, all zeros, or one behind the other in the file."""
        first = entries[entry]
        step = self._step if first > ZEROS else 0
        if first > ZEROS and not step:
            return 1
        end = min(len(entries), entry + most)
        at = entry + 1
        expected = first + step
        while at < end and entries[at] == expected:
            at += 1
            expected += step
        return at - entry


class CompressedExtent(SparseExtent):
    """Grains of any length, each behind a marker that says which it is. Read ahead by 1 MiB: they are in order."""

    def fill(self, offset: int, place: int, buffer: memoryview, scratch: Scratch) -> None:
        number, inside = divmod(offset, self._grain * SECTOR)
        extent, known, data = scratch.grain
        if extent != id(self) or known != number:
            data = self._inflate(number, place - inside, scratch)
            scratch.grain = (id(self), number, data)
        buffer[:] = memoryview(data)[inside : inside + len(buffer)]

    def check(self) -> None:
        """The last grain in the file must be whole: the tables say only where it begins."""
        super().check()
        last = max(self._map.runs(), key=lambda run: run.place, default=None)
        if last is not None and last.place != ZEROS:
            self._inflate(last.first, last.place * SECTOR, Scratch())

    def _inflate(self, number: int, place: int, scratch: Scratch) -> bytearray:
        size = self._grain * SECTOR
        sector, length = _GRAIN_MARKER.unpack(self._take(place, _GRAIN_MARKER.size, scratch))
        if sector != number * self._grain:
            raise refuse(f"the grain at sector {number * self._grain} is that of sector {sector}")
        if not 0 < length <= most_compressed(size):
            raise refuse(f"a grain of {length} compressed bytes")
        data = self._take(place + _GRAIN_MARKER.size, length, scratch)
        return inflate(Grain(sector * SECTOR, data), size, self.length)

    def _take(self, place: int, length: int, scratch: Scratch) -> bytes:
        if place + length > self.file.size:
            raise refuse(f"a grain behind the end of {self.file.name}")
        extent, start, window = scratch.window
        if extent != id(self) or not start <= place <= place + length <= start + len(window):
            start, window = place, self.file.read(place, max(length, min(_WINDOW, self.file.size - place)))
            scratch.window = (id(self), start, window)
        return window[place - start : place - start + length]


def open_hosted(file: File, header: SparseHeader) -> SparseExtent:
    """A sparse extent of Workstation, Player, Fusion or qemu, whose header was read with its kind in mind."""
    compressed = header.directory == GD_AT_END
    if compressed:
        header = _footer(file, header)
    if header.unclean:
        raise refuse(f"{file.name} was not closed: it is in use, or VMware was killed", UNCLEAN)
    if header.tables > MAX_TABLES // 2:
        raise refuse(f"{header.tables} grain tables in {file.name}")
    tables = _directory(file, header.directory, header.tables, "I")
    copies = _directory(file, header.copy, header.tables, "I") if header.copy else ()
    length = _sectors(header.tables * 4)
    fixed = [(0, 1), (header.directory, header.directory + length)]
    if header.copy:
        fixed.append((header.copy, header.copy + length))
    if header.descriptor:
        fixed.append((header.descriptor, header.descriptor + header.descriptor_sectors))
    layout = Layout(
        capacity=header.capacity,
        grain=header.grain,
        entries=TABLE_ENTRIES,
        tables=tables,
        copies=copies,
        fixed=fixed,
        zeros=header.zeros,
        compressed=header.compressed,
    )
    return CompressedExtent(file, layout) if header.compressed else SparseExtent(file, layout)


def open_cowd(file: File) -> SparseExtent:
    """A vmfsSparse extent: what a snapshot of ESXi holds of disks up to 2 TiB."""
    data = _head(file, 2048)
    magic, version, flags, capacity, grain, directory, entries, _ = _COWD.unpack_from(data)
    if magic != b"COWD" or version != 1 or flags != 3:
        raise refuse(f"{file.name} is no COWD extent of version 1 (version {version}, flags {flags:#x})")
    if _COWD_UNCLEAN.unpack_from(data, 1648)[0]:
        raise refuse(f"{file.name} was not closed: it is in use, or its host lost power", UNCLEAN)
    if not capacity or not 1 <= grain <= 128 or grain & (grain - 1):
        raise refuse(f"capacity of {capacity} sectors in grains of {grain}")
    count = -(-capacity // (grain * _COWD_ENTRIES))
    if not count <= entries <= MAX_TABLES // 2 or not directory:
        raise refuse(f"a grain directory of {entries} entries at sector {directory}, where {count} are due")
    tables = _directory(file, directory, count, "I")
    fixed = [(0, 4), (directory, directory + _sectors(entries * 4))]
    return SparseExtent(file, Layout(capacity, grain, _COWD_ENTRIES, tables, fixed=fixed))


def open_se_sparse(file: File) -> SparseExtent:
    """What a snapshot of ESXi holds on VMFS 6, and of larger disks."""
    data = _head(file, SECTOR)
    magic, version, capacity, grain, table, flags, *rest = _WIDE.unpack_from(data)
    if magic != _WIDE_MAGIC or version != _WIDE_VERSION:
        raise refuse(f"{file.name} is no seSparse extent of version 2.1")
    if (grain, table, flags, *rest[:4]) != (8, 64, 0, 0, 0, 0, 0) or any(data[_WIDE.size :]):
        raise refuse(f"{file.name} has a form of seSparse that is not known", _FULL_CLONE)
    pairs = [(rest[i], rest[i + 1]) for i in range(4, 20, 2)]
    state, _journal_header, _journal, directory, tables, _free, _back, grains = pairs
    if not 0 < capacity <= MAX_CAPACITY // SECTOR:
        raise refuse(f"capacity of {capacity} sectors")
    if any(start + length > _sectors(file.size) for start, length in pairs[:-1]):
        raise refuse(f"{file.name} is shorter than its header says", "Copy it again, and compare the sizes.")
    volatile = file.read(state[0] * SECTOR, SECTOR)
    if _WIDE_STATE.unpack_from(volatile)[0] != _WIDE_STATE_MAGIC or any(volatile[_WIDE_STATE.size :]):
        raise refuse(f"{file.name} has no state where its header says")
    if _WIDE_STATE.unpack_from(volatile)[3]:
        raise refuse(f"{file.name} was not closed: it is in use, or its host lost power", UNCLEAN)
    count = -(-capacity // (grain * _WIDE_ENTRIES))
    if directory[1] * SECTOR < count * 8:
        raise refuse(f"a grain directory of {directory[1]} sectors for {count} tables")
    places = array("Q")
    for entry in _directory(file, directory[0], count, "Q"):
        number = entry & 0xFFFFFFFF
        if entry and (entry >> 32 != 0x10000000 or (number + 1) * table > tables[1]):
            raise refuse(f"a grain directory's entry {entry:#x}")
        places.append(tables[0] + number * table if entry else 0)
    if grains[0] < max(start + length for start, length in (state, directory, tables)):
        raise refuse("grains among its tables")
    fixed = [(0, 1), (state[0], state[0] + state[1]), (directory[0], directory[0] + directory[1])]
    return SparseExtent(
        file, Layout(capacity, grain, _WIDE_ENTRIES, places, fixed=fixed, wide=True, grains=grains[0], zeros=True)
    )


_FULL_CLONE = "Consolidate its snapshots, or make a full clone of the VM, where it runs; then copy that."


def _footer(file: File, header: SparseHeader) -> SparseHeader:
    """The header's twin at the end of a true stream, which knows where the directory is. Zeros may follow it."""
    if file.size % SECTOR:
        raise refuse(f"{file.name} ends in the middle of a sector")
    end = file.read(max(file.size - _WINDOW, 0), min(_WINDOW, file.size))
    place = (len(end.rstrip(b"\0")) - 1) // SECTOR * SECTOR  # the end marker is zeros, and padding after it too
    if end[max(place - SECTOR, 0) : place] != _FOOTER_MARKER or len(end) < place + 2 * SECTOR:
        raise refuse(f"{file.name} has no footer: it is not whole", "Export or copy it again, and compare the sizes.")
    footer = SparseHeader.parse(end[place : place + SECTOR])
    if (footer.capacity, footer.grain, footer.version) != (header.capacity, header.grain, header.version):
        raise refuse("its footer contradicts its header")
    if footer.directory == GD_AT_END:
        raise refuse("its footer does not say where the directory is")
    return footer


def _directory(file: File, sector: int, count: int, code: str) -> array[int]:
    size = count * (8 if code == "Q" else 4)
    if sector * SECTOR + size > file.size:
        raise refuse(f"a grain directory behind the end of {file.name}")
    return array(code, file.read(sector * SECTOR, size))


def _head(file: File, size: int) -> bytes:
    if file.size < size:
        raise refuse(f"{file.name} is too short for a sparse extent")
    return file.read(0, size)


def _sectors(size: int) -> int:
    return -(-size // SECTOR)
