"""A disk that is read: as one stream from its start, or in ranges, over several connections at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Area(NamedTuple):
    """Guest bytes that may hold data."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length

    def inside(self, other: Area) -> Area | None:
        """The part of it that lies in the other, if any."""
        start, end = max(self.offset, other.offset), min(self.end, other.end)
        return Area(start, end - start) if start < end else None


class ByteStream(Protocol):
    """Bytes from the source. A connection that breaks raises TransferInterrupted; 0 is a clean end."""

    def readinto(self, buffer: memoryview) -> int: ...
    def close(self) -> None: ...


@runtime_checkable
class StreamDisk(Protocol):
    """A disk that comes as a streamOptimized VMDK, from its start only."""

    @property
    def identity(self) -> str:
        """Changes whenever the content may have: what is known of one identity is never used for another."""
        ...

    def open_stream(self) -> ByteStream:
        """From the start, as often as asked. Raises LeaseExpired, TransferInterrupted, SourceDenied."""
        ...


class RangeReader(Protocol):
    """One connection to a disk, for one thread. Errors: TransferInterrupted, LeaseExpired, TransportRefused."""

    def start(self, offset: int, length: int) -> None:
        """Begin to read guest bytes there. An earlier range need not have been read to its end."""
        ...

    def fill(self, buffer: memoryview) -> None:
        """The next len(buffer) bytes of the range, all of them."""
        ...

    def interrupt(self) -> None:
        """Let the call that another thread is blocked in fail."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class RangeDisk(Protocol):
    """A disk whose guest bytes can be read in any order. For any thread."""

    @property
    def identity(self) -> str:
        """As StreamDisk.identity."""
        ...

    @property
    def capacity(self) -> int:
        """Guest bytes."""
        ...

    def areas(self) -> Iterable[Area]:
        """What may hold data, in ascending order and apart from each other. All else reads as zeros."""
        ...

    def open_reader(self) -> RangeReader: ...


class DiskAccess(Protocol):
    """An open way to the disks of a VM that does not run; kept alive by itself until its context ends."""

    @property
    def transport(self) -> str: ...
    @property
    def connections(self) -> int:
        """How many connections all disks together may have at once; at least 1."""
        ...

    @property
    def disk_keys(self) -> Sequence[int]: ...
    def disk(self, key: int) -> StreamDisk | RangeDisk:
        """Raises NotFound."""
        ...

    def report_percent(self, percent: int) -> None:
        """Tell the platform, where it wants to know; 0 to 100."""
        ...
