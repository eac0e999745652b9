"""A source's disk into an image: read, stored and hashed at the same time, and never twice what a journal proves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.domain.errors import Conflict
from app.domain.models import ImageOptions
from app.ports.disks import Area, RangeDisk, StreamDisk
from app.ports.source import CancelCheck
from converters.image_writer import open_writer
from converters.qcow2 import check_plain, is_blank, mend
from converters.qemu_nbd import NbdImage, open_nbd
from workers.transfer.extents import Extent, ExtentTable
from workers.transfer.journal import Journal
from workers.transfer.manifest import EXTENT, Manifest
from workers.transfer.pipeline import Take
from workers.transfer.ranges import Window, copy_ranges, windows_of
from workers.transfer.sink import CELL, WINDOW, Sink, Written
from workers.transfer.streams import copy_stream

PROGRESS_SECONDS = 0.5
COMMIT_BYTES = 32 << 20  # for each connection: what a crash may cost
SAMPLE = 64  # one of so many extents is read again, at least SAMPLE_LEAST of them
SAMPLE_LEAST = 64


@dataclass(frozen=True)
class CopyProgress:
    """Guest bytes written, guest bytes known to be zeros, and bytes read from the source, up to now."""

    bytes_done: int
    bytes_skipped: int
    wire_bytes: int


@dataclass(frozen=True)
class Pace:
    """How a copy may run: connections to the source (one for a stream), threads that store, the limit on bytes."""

    connections: int = 4
    threads: int = 2
    take: Take = lambda count, cancel: None

    def for_disk(self, disk: StreamDisk | RangeDisk) -> int:
        """How many threads store at a time."""
        return self.threads if isinstance(disk, StreamDisk) else self.connections


def copy_disk(
    disk: StreamDisk | RangeDisk,
    target: Path,
    journal: Journal,
    *,
    image: ImageOptions = ImageOptions(),  # noqa: B008  frozen
    pace: Pace = Pace(),
    progress: Callable[[CopyProgress], None],
    cancel: CancelCheck,
    name: str = "",
) -> Manifest:
    """Copy the disk into the image at `target`, which is empty or holds what `journal` says, and say what was copied.

    When this returns, all bytes are on the disk and the image is closed. `progress` is called twice a second and at the
    end, in the caller's thread, as is `cancel`, whose exception passes through. After an exception a later call with
    the same target and a resumed journal goes on: ranges where they were, a stream from its start without writing
    anything twice. No process or thread is left.
    Raises UnsafeImage, TransferInterrupted, NoSpace, SourceChanged (not what it was when the journal was written),
    Conflict (the target is not empty or of another size), ToolFailed, ToolMissing, and whatever the disk raises.
    """
    table = journal.table
    cluster = image.cluster_kib << 10
    compressed = image.compressed and table.capacity % cluster == 0  # QEMU compresses whole clusters only
    image = image.model_copy(update={"compressed": compressed})
    _make_ready(target, journal, image)
    with open_writer(target, image, connections=pace.for_disk(disk)) as opened:
        if opened.size != table.capacity:
            raise Conflict(f"{target} has {opened.size} bytes, the disk {table.capacity}")
        sink = Sink(table, opened, cell=max(CELL, cluster) if compressed else CELL)
        windows = list(windows_of(disk.areas(), sink.wants)) if isinstance(disk, RangeDisk) else None
        state = _State(journal, windows)
        results = _read(disk, sink, windows, pace, cancel, opened.kill)
        told = time.monotonic()
        with closing(results):
            for result in results:
                state.add(result)
                if state.since_commit >= COMMIT_BYTES * pace.for_disk(disk):
                    opened.flush()
                    state.commit()
                if (now := time.monotonic()) - told >= PROGRESS_SECONDS:
                    told = now
                    progress(state.seen())
        cancel()
        opened.flush()
    state.commit()
    progress(CopyProgress(table.data_bytes, table.capacity - table.data_bytes, state.wire_bytes))
    return table.manifest(name, wire_bytes=state.wire_bytes)


def read_again(
    disk: StreamDisk | RangeDisk,
    table: ExtentTable,
    how: Literal["sample", "all"],
    *,
    pace: Pace = Pace(),
    cancel: CancelCheck,
) -> int:
    """Read the source a second time, over new connections, and compare; answers the guest bytes compared.

    It finds what went wrong on the wire where no checksum guards it, as in a flat file's ranges. A sample is one extent
    in SAMPLE of those with data; a stream is read whole either way. Raises SourceChanged for a difference.
    """
    sink = Sink(table)
    windows = None
    if isinstance(disk, RangeDisk):
        areas = disk.areas() if how == "all" else _sample(list(disk.areas()))
        windows = list(windows_of(areas, sink.wants))
    results = _read(disk, sink, windows, pace, cancel, lambda: None)
    with closing(results):
        return sum(result.again for result in results)


def _read(
    disk: StreamDisk | RangeDisk,
    sink: Sink,
    windows: list[Window] | None,
    pace: Pace,
    cancel: CancelCheck,
    abort: Callable[[], None],
) -> Generator[Written, None, None]:
    if isinstance(disk, StreamDisk):
        return copy_stream(disk, sink, threads=pace.threads, take=pace.take, cancel=cancel, abort=abort)
    return copy_ranges(
        disk, sink, windows or [], connections=pace.connections, take=pace.take, cancel=cancel, abort=abort
    )


def _make_ready(target: Path, journal: Journal, image: ImageOptions) -> None:
    """Zeros are never written, so a target that is new must hold nothing; one that was begun is mended first."""
    if image.format == "qcow2":
        check_plain(target)
    if target.is_block_device():
        if not journal.table.known_bytes:
            with open_nbd(target, format="raw", writable=True, discard=image.discard) as opened:
                opened.zero()
                opened.flush()
    elif not journal.new:
        if image.format == "qcow2":
            mend(target)
    elif not is_blank(target, image.format):
        with open_nbd(target, format=image.format) as opened:
            _require_zeros(opened)


def _require_zeros(image: NbdImage) -> None:
    """What the format does not know to be zeros (preallocated space, the start of a raw file) is read."""
    for offset, length, zero in image.extents():
        for place in () if zero else range(offset, offset + length, WINDOW):
            size = min(WINDOW, offset + length - place)
            if image.read(size, place).strip(b"\0"):
                raise Conflict(f"{image.path} is not empty: it holds data at {place}", "Use a new volume.")


def _sample(areas: list[Area]) -> list[Area]:
    """Whole extents of the areas, chosen by chance, and all that the areas have of each."""
    with_data = sorted({index for area in areas for index in _indexes(area)})
    chosen = set(random.sample(with_data, min(len(with_data), max(SAMPLE_LEAST, len(with_data) // SAMPLE))))
    extents = ((area, Area(index * EXTENT, EXTENT)) for area in areas for index in _indexes(area) if index in chosen)
    return [part for area, extent in extents if (part := area.inside(extent)) is not None]


def _indexes(area: Area) -> range:
    """Of the extents that it touches."""
    return range(area.offset // EXTENT, -(-area.end // EXTENT))


class _State:
    """How far a copy is."""

    def __init__(self, journal: Journal, windows: list[Window] | None) -> None:
        self.wire_bytes = journal.wire_bytes
        self.since_commit = 0  # bytes read that a crash would lose
        self._journal = journal
        self._new: list[Extent] = []
        self._left = None if windows is None else sum(piece.length for w in windows for piece in w.pieces)
        self._place = 0  # of a stream

    def add(self, result: Written) -> None:
        for extent in result.extents:
            self._journal.table.add(extent)
        self._new += result.extents
        self.since_commit += result.wire_bytes
        self.wire_bytes += result.wire_bytes
        self._place = result.offset + result.size
        if self._left is not None:
            self._left -= result.wire_bytes

    def commit(self) -> None:
        """To be called when what was added before has been flushed."""
        self._journal.commit(self._new, self.wire_bytes)
        self._new, self.since_commit = [], 0

    def seen(self) -> CopyProgress:
        """What no area names is skipped from the start; of a stream, what lies before its place."""
        data, capacity = self._journal.table.data_bytes, self._journal.table.capacity
        passed = self._place if self._left is None else capacity - self._left
        return CopyProgress(data, max(0, passed - data), self.wire_bytes)
