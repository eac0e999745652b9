"""A disk that can be read in ranges: several threads, each with a connection of its own, in no order.

Only what the disk calls areas is read, and of it only what the sink still wants. A connection that breaks is opened
anew and its window read again; only when that fails several times in a row does the copy end.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from app.domain.errors import TransferInterrupted
from app.ports.disks import Area, RangeDisk, RangeReader
from app.ports.source import CancelCheck
from workers.transfer.buffers import window_buffer
from workers.transfer.pipeline import Take
from workers.transfer.sink import CELL, WINDOW, Sink, Written

STRETCH = 16 * WINDOW  # guest bytes that a thread takes at a time, so that one request reads many windows
AHEAD = 8  # windows for each thread that may wait to be taken, so that what no journal knows yet stays bounded
TRIES = 5  # of one window, before a connection that breaks ends the copy
PAUSE_S = 0.2  # before the second try; it doubles


@dataclass(frozen=True, slots=True)
class Window:
    """What is to be read of WINDOW guest bytes from `offset` on."""

    offset: int
    pieces: list[Area]


def copy_ranges(
    disk: RangeDisk,
    sink: Sink,
    windows: Iterable[Window],
    *,
    connections: int,
    take: Take,
    cancel: CancelCheck,
    abort: Callable[[], None],
) -> Generator[Written, None, None]:
    """Read `windows` into the sink. Yields in the caller's thread, where `cancel` is called, too.

    When anything raises, `abort` is called, which must make writes under way end, and no thread is left when the error
    reaches the caller; so it is when the generator is closed.
    """
    crew = _Crew(disk, sink, _stretches(windows), take, connections * AHEAD)
    threads = [threading.Thread(target=crew.work, name=f"transfer-{n}", daemon=True) for n in range(connections)]
    for thread in threads:
        thread.start()
    try:
        working = len(threads)
        while working:
            cancel()
            try:
                item = crew.results.get(timeout=0.2)
            except queue.Empty:
                continue
            if item is None:
                working -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    except BaseException:
        abort()
        raise
    finally:
        crew.stop()
        for thread in threads:
            thread.join()


class _Crew:
    """What the threads share. `results`: windows done, an error, or None for each thread that has ended."""

    def __init__(self, disk: RangeDisk, sink: Sink, stretches: Iterator[list[Window]], take: Take, ahead: int) -> None:
        self.results: queue.Queue[Written | BaseException | None] = queue.Queue(ahead)
        self._disk = disk
        self._sink = sink
        self._stretches = stretches
        self._take = take
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._readers: set[RangeReader] = set()

    def stop(self) -> None:
        """Let all threads end soon."""
        self._stopped.set()
        with self._lock:
            for reader in self._readers:
                reader.interrupt()

    def work(self) -> None:
        """The life of one thread."""
        reader: RangeReader | None = None
        buffer = window_buffer()
        try:
            while stretch := self._next():
                done = failures = 0
                while done < len(stretch) and not self._stopped.is_set():
                    try:
                        reader = reader or self._open()
                        for written in self._read(reader, stretch[done:], buffer):
                            self._tell(written)
                            done += 1
                            failures = 0
                    except TransferInterrupted:
                        failures += 1
                        if reader is not None:
                            self._close(reader)
                            reader = None
                        if failures >= TRIES or self._stopped.wait(PAUSE_S * 2 ** (failures - 1)):
                            raise
        except BaseException as error:  # noqa: BLE001  the top of a thread: the caller raises it
            self._tell(error)
        finally:
            if reader is not None:
                self._close(reader)
            self._tell(None)

    def _tell(self, result: Written | BaseException | None) -> None:
        """Wait until there is room for it, or nobody wants it any more."""
        while not self._stopped.is_set():
            try:
                self.results.put(result, timeout=0.2)
            except queue.Full:
                continue
            return

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise TransferInterrupted("the copy has ended")

    def _next(self) -> list[Window]:
        with self._lock:
            return [] if self._stopped.is_set() else next(self._stretches, [])

    def _open(self) -> RangeReader:
        reader = self._disk.open_reader()
        with self._lock:
            self._readers.add(reader)
            if self._stopped.is_set():  # `stop` has not seen this one
                reader.interrupt()
        return reader

    def _close(self, reader: RangeReader) -> None:
        with self._lock:
            self._readers.discard(reader)
        reader.close()

    def _read(self, reader: RangeReader, windows: list[Window], view: memoryview) -> Iterator[Written]:
        """Read windows one by one, what lies together by one request."""
        at = end = -1
        for number, window in enumerate(windows):
            size = min(WINDOW, self._disk.capacity - window.offset)
            position = wire = 0
            touched: set[int] = set()
            for piece in window.pieces:
                start = piece.offset - window.offset
                view[position:start] = bytes(start - position)
                if piece.offset != at or at >= end:
                    at = piece.offset
                    end = _run(windows[number:], piece)
                    reader.start(at, end - at)
                position = start + piece.length
                reader.fill(view[start:position])
                self._take(piece.length, self._go_on)
                at += piece.length
                touched.update(range(start // CELL * CELL, position, CELL))
                wire += piece.length
            view[position:size] = bytes(size - position)
            if self._stopped.is_set():
                return
            yield self._sink.store(window.offset, view[:size], touched, wire)


def windows_of(areas: Iterable[Area], wants: Callable[[Area], bool]) -> Iterator[Window]:
    """Areas (ascending, apart) cut at the windows' borders; windows without a piece that is wanted are left out."""
    for offset, pieces in groupby(_cut(areas), key=lambda piece: piece.offset // WINDOW * WINDOW):
        window = Window(offset, list(pieces))
        if any(wants(piece) for piece in window.pieces):
            yield window


def _cut(areas: Iterable[Area]) -> Iterator[Area]:
    for area in areas:
        offset, stop = area.offset, area.end
        while offset < stop:
            end = min(stop, (offset // WINDOW + 1) * WINDOW)
            yield Area(offset, end - offset)
            offset = end


def _stretches(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Windows of one STRETCH together."""
    stretch: list[Window] = []
    for window in windows:
        if stretch and window.offset // STRETCH != stretch[0].offset // STRETCH:
            yield stretch
            stretch = []
        stretch.append(window)
    if stretch:
        yield stretch


def _run(windows: list[Window], piece: Area) -> int:
    """Where the bytes end that follow `piece`, of the first window, without a gap."""
    end = piece.offset
    for window in windows:
        for other in window.pieces:
            if other.offset == end:
                end += other.length
            elif other.offset > end:
                return end
    return end
