"""A disk in memory that is read in ranges, and disturbed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.domain.errors import TransferInterrupted
from app.ports.disks import Area

CELL = 64 << 10


@dataclass
class MemoryRanges:
    """A RangeDisk. `before_fill` is called with the place and length of each read, and may raise or change `data`."""

    data: bytearray
    identity: str = "in memory"
    before_fill: Callable[[int, int], None] = lambda offset, length: None
    requests: list[tuple[int, int]] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    open_readers: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def capacity(self) -> int:
        return len(self.data)

    def areas(self) -> Iterable[Area]:
        """Cells that are not all zeros, neighbours joined."""
        start = None
        for offset in [*range(0, len(self.data), CELL), len(self.data)]:
            full = offset < len(self.data) and re.search(rb"[^\0]", self.data[offset : offset + CELL]) is not None
            if full and start is None:
                start = offset
            elif not full and start is not None:
                yield Area(start, min(offset, len(self.data)) - start)
                start = None

    def open_reader(self) -> MemoryReader:
        with self.lock:
            self.open_readers += 1
        return MemoryReader(self)


class MemoryReader:
    def __init__(self, disk: MemoryRanges) -> None:
        self._disk = disk
        self._place = self._end = 0
        self._interrupted = False

    def start(self, offset: int, length: int) -> None:
        assert offset >= 0
        assert 0 < length <= self._disk.capacity - offset
        self._disk.requests.append((offset, length))
        self._place, self._end = offset, offset + length

    def fill(self, buffer: memoryview) -> None:
        assert self._place + len(buffer) <= self._end, "more than was asked for"
        self._disk.before_fill(self._place, len(buffer))
        if self._interrupted:
            raise TransferInterrupted("interrupted")
        buffer[:] = self._disk.data[self._place : self._place + len(buffer)]
        self._disk.reads.append((self._place, len(buffer)))
        self._place += len(buffer)

    def interrupt(self) -> None:
        self._interrupted = True

    def close(self) -> None:
        with self._disk.lock:
            self._disk.open_readers -= 1
