"""A disk in memory that is read in ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.domain.errors import TransferInterrupted
from app.ports.disks import Area, RangeReader

BLOCK = 64 << 10


@dataclass(frozen=True)
class MemoryRangeDisk:
    """A RangeDisk. `before_read` may raise what the next call of a reader shall raise."""

    data: bytes
    identity: str
    before_read: Callable[[], None]

    @property
    def capacity(self) -> int:
        return len(self.data)

    def areas(self) -> Iterator[Area]:
        """Each block that is not zeros; neighbours are one."""
        start = 0
        for offset in range(0, len(self.data) + BLOCK, BLOCK):
            block = self.data[offset : offset + BLOCK]
            if block.strip(b"\0"):
                continue
            if offset > start:
                yield Area(start, min(offset, len(self.data)) - start)
            start = offset + BLOCK

    def open_reader(self) -> RangeReader:
        self.before_read()
        return _Reader(self.data, self.before_read)


class _Reader:
    def __init__(self, data: bytes, before_read: Callable[[], None]) -> None:
        self._data, self._before_read = data, before_read
        self._at = self._end = 0
        self._stopped = False

    def start(self, offset: int, length: int) -> None:
        self._ready()
        assert 0 <= offset <= offset + length <= len(self._data)
        self._at, self._end = offset, offset + length

    def fill(self, buffer: memoryview) -> None:
        self._ready()
        assert len(buffer) <= self._end - self._at
        buffer[:] = self._data[self._at : self._at + len(buffer)]
        self._at += len(buffer)

    def interrupt(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._stopped = True

    def _ready(self) -> None:
        self._before_read()
        if self._stopped:
            raise TransferInterrupted("reading was stopped")
