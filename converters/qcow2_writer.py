"""A qcow2 of ours that is filled: clusters are taken at the end of the file, in the order in which data comes.

QEMU makes the empty image, mends it after a crash, and says in the end where its bytes are. In between we write it
ourselves: through qemu-nbd each byte would be copied three times more. Only what `qcow2.create` made is taken: no
snapshot, no backing file, no compressed cluster. The format: docs/interop/qcow2.rst of QEMU.

The tables on the disk never refer to places behind the file's end. So a crash leaves what the last flush wrote, and
perhaps clusters that are counted but not used, or used but not counted: `qcow2.mend` settles both.
"""

from __future__ import annotations

import struct
import threading
from array import array
from collections import OrderedDict

from app.domain.errors import UnsafeImage
from converters.direct_file import DirectFile

_HEADER = struct.Struct(">4xI12xIQ4xIQQII8xQ16xI")  # up to the order of the refcounts
_COUNTS_FIELDS = struct.Struct(">QI")  # where the table of refcount blocks is, and its clusters
_COUNTS_FIELDS_PLACE = 48
_ENTRY = struct.Struct(">Q")
_PLACE = 0x00FF_FFFF_FFFF_FE00
_COPIED = 1 << 63  # the cluster has one reference
_COUNT = b"\0\1"  # of a cluster in use
_KEPT = 64  # L2 tables that stay in memory after they were written
_DIRTY = 512  # L2 tables that may wait for a flush


class Qcow2Writer:
    """An image of `size` bytes, for any thread. Errors of all calls: NoSpace, TransferInterrupted, UnsafeImage."""

    def __init__(self, file: DirectFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        head = _HEADER.unpack(file.read(_HEADER.size, 0).ljust(_HEADER.size, b"\0"))
        version, bits, self.size, tables, self._l1_place, self._counts_place, counts, snapshots, features, order = head
        if version != 3 or snapshots or features or order != 4 or not 9 <= bits <= 21:
            raise self._foreign()
        self._bits: int = bits
        self._cluster: int = 1 << bits
        self._entries = self._cluster // 8  # of an L2 table
        self._per_block = self._cluster // 2  # clusters that a block of refcounts counts
        self._l1: array[int] = self._read(self._l1_place, tables)
        self._counts = self._read(self._counts_place, (counts << bits) // 8)
        self._tables: OrderedDict[int, array[int]] = OrderedDict()  # L2 by number, the least recently used first
        self._dirty: set[int] = set()
        self._end: int = -(-file.size() >> bits)  # the next free cluster
        self._counted = self._end
        self._reserve()

    def write(self, data: memoryview, offset: int) -> None:
        """Fastest where `data` begins at a multiple of 4096 in memory."""
        done = 0
        for place, length in self._places(offset, len(data)):
            self._file.write(data[done : done + length], place)
            done += length

    def flush(self) -> None:
        """Everything that was written before is on the disk when this returns."""
        with self._lock:
            self._write_tables()
        self._file.sync()

    def close(self) -> None:
        """Flush first."""
        self._file.resize(self._end << self._bits)

    def kill(self) -> None:
        """Calls of other threads fail from now on."""
        self._file.kill()

    def _places(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Where a run of guest bytes lies in the file, as (place, length); clusters that have none get one."""
        runs: list[tuple[int, int]] = []
        end = offset + length
        with self._lock:
            while offset < end:
                inside = offset & (self._cluster - 1)
                size = min(end - offset, self._cluster - inside)
                place = self._cluster_of(offset >> self._bits) + inside
                if runs and sum(runs[-1]) == place:
                    runs[-1] = (runs[-1][0], runs[-1][1] + size)
                else:
                    runs.append((place, size))
                offset += size
        return runs

    def _cluster_of(self, number: int) -> int:
        index, entry = divmod(number, self._entries)
        table = self._table(index)
        if not table[entry]:
            table[entry] = self._take() << self._bits | _COPIED
            self._dirty.add(index)
            if len(self._dirty) > _DIRTY:
                self._write_tables()
        place: int = table[entry] & _PLACE
        return place

    def _table(self, index: int) -> array[int]:
        """An L2 table, from memory, from the file, or a new one."""
        table = self._tables.pop(index, None)
        if table is None:
            if place := self._l1[index] & _PLACE:
                table = self._read(place, self._entries)
                if any(entry and entry & ~_PLACE != _COPIED for entry in table):
                    raise self._foreign()
            else:
                table = array("Q", bytes(self._cluster))
                self._l1[index] = self._take() << self._bits | _COPIED
        self._tables[index] = table
        if len(self._tables) - len(self._dirty) > _KEPT:
            del self._tables[next(number for number in self._tables if number not in self._dirty)]
        return table

    def _take(self) -> int:
        """A cluster at the end of the file, where all is zeros."""
        self._end += 1
        return self._end - 1

    def _write_tables(self) -> None:
        """Counts, then L2 tables and what refers to them; before it the file gets the room for all that they name."""
        blocks = self._take_blocks()
        if self._counted == self._end and not self._dirty:
            return
        self._file.resize(self._end << self._bits)
        self._file.sync()
        self._count(blocks)
        for index in sorted(self._dirty):
            self._file.patch(_big(self._tables[index]), self._l1[index] & _PLACE)
            self._file.patch(_ENTRY.pack(self._l1[index]), self._l1_place + _ENTRY.size * index)
        self._dirty.clear()

    def _take_blocks(self) -> list[int]:
        """Give the blocks of refcounts that are still missing a cluster; answers their numbers."""
        taken = []
        block = self._counted // self._per_block
        while block * self._per_block < self._end:
            if not self._counts[block]:
                self._counts[block] = self._take() << self._bits
                taken.append(block)
            block += 1
        return taken

    def _count(self, new_blocks: list[int]) -> None:
        """Count all clusters that were taken."""
        while self._counted < self._end:
            block, entry = divmod(self._counted, self._per_block)
            count = min(self._per_block - entry, self._end - self._counted)
            self._file.patch(_COUNT * count, self._counts[block] + len(_COUNT) * entry)
            self._counted += count
        for block in new_blocks:
            self._file.patch(_ENTRY.pack(self._counts[block]), self._counts_place + _ENTRY.size * block)

    def _reserve(self) -> None:
        """Give the table of refcount blocks a place where it is long enough for all that may come."""
        most = self._end + (self.size >> self._bits) + 2 * len(self._l1) + 64
        most += most // self._per_block * 2
        needed = -(-most // self._per_block)
        if needed <= len(self._counts):
            return
        clusters = -(-needed * _ENTRY.size >> self._bits)
        old, old_clusters = self._counts_place, len(self._counts) * _ENTRY.size >> self._bits
        self._counts_place = self._end << self._bits
        self._end += clusters
        self._counts.frombytes(bytes((clusters << self._bits) - _ENTRY.size * len(self._counts)))
        self._write_tables()
        self._file.patch(_big(self._counts), self._counts_place)
        self._file.sync()
        self._file.patch(_COUNTS_FIELDS.pack(self._counts_place, clusters), _COUNTS_FIELDS_PLACE)
        self._file.sync()
        block, entry = divmod(old >> self._bits, self._per_block)  # the old place is free
        self._file.patch(bytes(len(_COUNT) * old_clusters), self._counts[block] + len(_COUNT) * entry)

    def _read(self, place: int, entries: int) -> array[int]:
        size = _ENTRY.size * entries
        table = array("Q", self._file.read(size, place).ljust(size, b"\0"))
        table.byteswap()
        return table

    def _foreign(self) -> UnsafeImage:
        return UnsafeImage(f"{self._file.path} is not an image that vmferry made")


def _big(table: array[int]) -> memoryview:
    copy = table[:]
    copy.byteswap()
    return memoryview(copy).cast("B")
