"""Where guest bytes end: zeros found and left out, data written, extents hashed. What is known is compared instead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from app.domain.errors import SourceChanged
from app.ports.disks import Area
from converters.image_writer import ImageWriter
from workers.transfer.extents import Extent, ExtentTable
from workers.transfer.manifest import EXTENT, digest, zero_digest

WINDOW = 2 << 20  # guest bytes that one thread works on at a time; a multiple of EXTENT
CELL = 64 << 10  # zeros are found in pieces of this size; a VMDK's grain, and qcow2's usual cluster


@dataclass(frozen=True, slots=True)
class Written:
    """A window that is done: guest bytes from `offset` on, of which `extents` are new and `again` were known."""

    offset: int
    size: int
    extents: list[Extent]
    again: int
    wire_bytes: int


class Sink:
    """Takes windows of guest bytes, in any thread. Without an image all is only compared with `table`."""

    def __init__(self, table: ExtentTable, image: ImageWriter | None = None, *, cell: int = CELL) -> None:
        """`cell`: what is written is a whole multiple of it, where the image cannot take less."""
        self.capacity = table.capacity
        self._table = table
        self._image = image
        self._cell = cell

    def wants(self, area: Area) -> bool:
        """Whether an extent that the area touches is not known yet, or is to be compared."""
        if self._image is None:
            return True
        first, last = area.offset // EXTENT, (area.end - 1) // EXTENT
        return not all(self._table.known(index) for index in range(first, last + 1))

    def store(self, offset: int, buffer: memoryview, touched: set[int], wire_bytes: int) -> Written:
        """Take a window. `touched`: places, multiples of CELL, that were read; all others hold zeros and mean nothing.

        Raises SourceChanged where a known extent has other bytes now, and what writing raises.
        """
        first = offset // EXTENT
        parts = sorted({place // EXTENT for place in touched})
        known = {part for part in parts if self._table.known(first + part)}
        cells = sorted({place // self._cell * self._cell for place in touched})
        data = [cell for cell in cells if not _is_zero(buffer[cell : cell + self._cell])]
        full = {cell // EXTENT for cell in data}
        new: list[Extent] = []
        for part in parts:
            view = buffer[part * EXTENT : (part + 1) * EXTENT]
            value = digest(view) if part in full else None
            if part in known:
                self._compare(first + part, value)
            else:
                size = sum(min(self._cell, len(buffer) - cell) for cell in data if cell // EXTENT == part)
                new.append(Extent(first + part, size, value))
        if self._image is not None:
            for start, end in _runs([cell for cell in data if cell // EXTENT not in known], self._cell, len(buffer)):
                self._image.write(buffer[start:end], offset + start)
        again = sum(self._table.size(first + part) for part in known)
        return Written(offset, len(buffer), new, again, wire_bytes)

    def _compare(self, index: int, value: bytes | None) -> None:
        zero = zero_digest(self._table.size(index))
        if (value or zero) != (self._table.digest(index) or zero):
            raise SourceChanged(
                f"the source does not read the same twice: its bytes from {index * EXTENT} on are not what they were",
                "If nobody wrote to it, do not trust the network or the storage in between. Copy it anew.",
                offset=index * EXTENT,
            )


def _runs(cells: list[int], cell_size: int, size: int) -> list[tuple[int, int]]:
    """Neighbouring cells joined."""
    runs: list[tuple[int, int]] = []
    for cell in cells:
        end = min(cell + cell_size, size)
        if runs and runs[-1][1] == cell:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((cell, end))
    return runs


def _is_zero(view: memoryview) -> bool:
    """A look at a few places first: copying for the comparison costs more than most data needs."""
    size = len(view)
    if view[0] or view[size // 2] or view[size - 1] or view[size // 3]:
        return False
    return view.tobytes() == _zeros(size)


@cache
def _zeros(size: int) -> bytes:
    return bytes(size)
