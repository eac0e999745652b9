"""A RangeReader over whatever can be read at any place."""

from __future__ import annotations

from collections.abc import Callable

from app.domain.errors import InvalidRequest, TransferInterrupted

ReadAt = Callable[[int, memoryview], None]  # fill the buffer with the guest bytes from an offset on


def require_inside(offset: int, length: int, capacity: int) -> None:
    if offset < 0 or length < 0 or offset + length > capacity:
        raise InvalidRequest(f"{length} bytes at {offset} are not on a disk of {capacity} bytes")


class RangeCursor:
    """One place in a disk that moves on with each read."""

    def __init__(self, read_at: ReadAt, capacity: int) -> None:
        self._read_at = read_at
        self._capacity = capacity
        self._at = self._end = 0
        self._stopped = False

    def start(self, offset: int, length: int) -> None:
        require_inside(offset, length, self._capacity)
        self._at, self._end = offset, offset + length

    def fill(self, buffer: memoryview) -> None:
        if self._stopped:
            raise TransferInterrupted("the reader was stopped")
        require_inside(self._at, len(buffer), self._end)
        self._read_at(self._at, buffer)
        self._at += len(buffer)

    def interrupt(self) -> None:
        """A file's read cannot be broken off, but it soon ends by itself: the next one fails."""
        self._stopped = True

    def close(self) -> None:
        self._stopped = True
