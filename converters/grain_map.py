"""Where a sparse extent keeps its grains: tables of a hostile file, read when they are needed, never all at once.

Numbers are sectors of 512 bytes unless they are called bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from converters.claims import Regions, Slots
from converters.folder import File
from converters.vmdk import SECTOR, refuse

ABSENT, ZEROS = 0, 1  # what is in a table instead of a place: a sector that no grain can begin at
MAX_TABLES = 4 << 20  # 64 TiB in tables of 16 MiB; those of 32 MiB are half as many
_BATCH_BYTES = 512 << 10
_NOTHING = bytes(_BATCH_BYTES)
_MARKER = 12  # bytes before a compressed grain's data


@dataclass(frozen=True)
class Layout:
    """What an extent's header says. `tables` and `copies` have the place of each grain table, or 0 where it has none.

    `fixed` are the other regions of metadata, (start, end). `wide`: entries of 64 bits, as seSparse has them, and
    grains counted from `grains`. `zeros`: an entry of 1 stands for zeros. `compressed`: grains of any length.
    """

    capacity: int
    grain: int
    entries: int
    tables: Sequence[int]
    copies: Sequence[int] = ()
    fixed: Sequence[tuple[int, int]] = field(default_factory=list)
    wide: bool = False
    grains: int = 0
    zeros: bool = False
    compressed: bool = False


class Run(NamedTuple):
    """Neighbours: as many `grains` from number `first` on, which begin at `place` in the file or read as zeros."""

    first: int
    grains: int
    place: int  # or ZEROS


class GrainMap:
    """The tables of one extent. Any thread may ask.

    Raises UnsafeImage for a place outside the file, TransferInterrupted for a file that cannot be read.
    """

    def __init__(self, file: File, layout: Layout) -> None:
        self._file = file
        self.layout = layout
        self.count = -(-layout.capacity // layout.grain)
        self._table_bytes = layout.entries * (8 if layout.wide else 4)
        self._file_sectors = file.size // SECTOR
        for places in (layout.tables, layout.copies):
            last = max(places, default=0)
            if last and last * SECTOR + self._table_bytes > file.size:
                raise refuse(f"a grain table behind the end of {file.name}", _SHORT)
        self._step = 0 if layout.compressed else layout.grain

    def table(self, index: int) -> Sequence[int] | None:
        """For each of its grains ABSENT, ZEROS or its place; None where all are absent."""
        place = self.layout.tables[index]
        if not place:
            return None
        return self._entries(index, self._file.read(place * SECTOR, self._table_bytes))

    def runs(self) -> Iterator[Run]:
        """All grains that are not absent, in the disk's order. Compressed ones come one by one."""
        for index, data, _ in self._filled():
            yield from self._runs_of(index, self._entries(index, data))

    def check(self) -> None:
        """Read all tables, and their copies, once. Raises UnsafeImage where they differ, or give a place away twice."""
        layout = self.layout
        regions = Regions(layout.fixed, (layout.tables, layout.copies), -(-self._table_bytes // SECTOR))
        grain = 1 if layout.compressed else layout.grain
        used: set[int] = set()
        with closing(Slots(grain)) as slots:
            for run in self._checked_runs():
                if run.place == ZEROS:
                    continue
                if regions.meets(run.place, run.place + run.grains * grain):
                    raise refuse(f"a grain in the middle of the tables, at or behind sector {run.place}")
                used.update(Slots.bands(run.place, grain, run.grains))
                slots.claim(run.place, run.grains, 0)
        for band in used - {0}:
            with closing(Slots(grain)) as slots:
                for run in self.runs():
                    if run.place != ZEROS:
                        slots.claim(run.place, run.grains, band)

    def _checked_runs(self) -> Iterator[Run]:
        for index, data, copy in self._filled():
            if copy is not None and copy != data:
                raise refuse(
                    f"the two grain tables number {index} of {self._file.name} differ",
                    "Repair the disk where it ran (vmware-vdiskmanager -R), then copy it again.",
                )
            yield from self._runs_of(index, self._entries(index, data))

    def _filled(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        """(index, table, its copy) of each table that is not empty, or whose copy is not."""
        size, empty = self._table_bytes, bytes(self._table_bytes)
        tables, copies = self.layout.tables, self.layout.copies
        for first, count in self._batches():
            places = [tables[first], copies[first]] if copies else [tables[first]]
            if all(self._file.is_hole(place * SECTOR, count * size) for place in places):
                continue  # reading the holes of a huge disk takes a minute
            data = self._file.read(tables[first] * SECTOR, count * size)
            copy = self._file.read(copies[first] * SECTOR, count * size) if copies else None
            if data == _NOTHING[: len(data)] and copy in (None, data):
                continue
            for number in range(count):
                piece = slice(number * size, (number + 1) * size)
                if data[piece] != empty or (copy is not None and copy[piece] != empty):
                    yield first + number, data[piece], None if copy is None else copy[piece]

    def _batches(self) -> Iterator[tuple[int, int]]:
        """(first, count) of tables that follow each other in the file, and their copies too."""
        tables, copies = self.layout.tables, self.layout.copies
        step = self._table_bytes // SECTOR
        most = max(_BATCH_BYTES // self._table_bytes, 1) if self._table_bytes % SECTOR == 0 else 1
        first = count = 0
        for index, place in enumerate(tables):
            if copies and bool(place) != bool(copies[index]):
                raise refuse(f"the two grain directories differ at table {index}")
            if (
                count
                and count < most
                and place == tables[first] + count * step
                and (not copies or copies[index] == copies[first] + count * step)
            ):
                count += 1
                continue
            if count:
                yield first, count
            first, count = index, 1 if place else 0
        if count:
            yield first, count

    def _entries(self, index: int, data: bytes) -> Sequence[int]:
        layout = self.layout
        entries = array("Q" if layout.wide else "I", data)
        if layout.wide:
            entries = array("Q", [self._place(entry) if entry else ABSENT for entry in entries])
        elif not layout.zeros and ZEROS in entries:
            raise refuse("a grain in sector 1")
        rest = self.count - index * layout.entries
        if rest < layout.entries and any(entries[rest:]):
            raise refuse("a grain behind the end of the disk")
        if max(entries) > self._file_sectors - max(self._step, 1):
            self._check_last(index, entries)
        return entries

    def _check_last(self, index: int, entries: Sequence[int]) -> None:
        """A grain at the file's end may be as short as the disk is there; a compressed one has a marker at least."""
        layout = self.layout
        for number, place in enumerate(entries, index * layout.entries):
            size = _MARKER
            if not layout.compressed:
                size = min(layout.grain, layout.capacity - number * layout.grain) * SECTOR
            if place > ZEROS and place * SECTOR + size > self._file.size:
                raise refuse(f"a grain behind the end of {self._file.name}", _SHORT)

    def _place(self, entry: int) -> int:
        """An entry of seSparse: its kind in the topmost four bits, then the low 12 bits of a number, then the rest."""
        kind = entry >> 60
        if kind in (1, 2):  # the guest discarded it, or wrote zeros
            return ZEROS
        if kind != 3:
            raise refuse(f"a grain table's entry {entry:#x}")
        return self.layout.grains + ((entry >> 48 & 0xFFF) | (entry & 0xFFFFFFFFFFFF) << 12) * self.layout.grain

    def _runs_of(self, index: int, entries: Sequence[int]) -> Iterator[Run]:
        step, number = self._step, index * self.layout.entries
        first, begin, expected = -1, ABSENT, -1
        for entry in entries:
            if entry != expected:
                if first >= 0:
                    yield Run(first, number - first, begin)
                first = number if entry else -1
                begin = entry
            expected = entry + step if entry > ZEROS and step else entry if entry == ZEROS else -1
            number += 1
        if first >= 0:
            yield Run(first, number - first, begin)


_SHORT = "The file is shorter than it was: copy it again, and compare the sizes."
