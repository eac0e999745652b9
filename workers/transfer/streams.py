"""A disk that comes as one stream: inflated and stored by several threads, in the order of the stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from app.ports.disks import ByteStream, StreamDisk
from app.ports.source import CancelCheck
from converters.vmdk_stream import Grain, StreamReader
from workers.transfer.buffers import OwnBuffer
from workers.transfer.pipeline import Take, in_order
from workers.transfer.sink import CELL, WINDOW, Sink, Written


@dataclass(frozen=True)
class _Batch:
    """Grains inside WINDOW guest bytes from `offset` on, and the bytes of the stream that they took."""

    offset: int
    grains: list[Grain]
    wire_bytes: int


def copy_stream(
    disk: StreamDisk,
    sink: Sink,
    *,
    threads: int,
    take: Take,
    cancel: CancelCheck,
    abort: Callable[[], None],
) -> Generator[Written, None, None]:
    """All of the stream, from its start. Yields in the order of the disk, in the caller's thread.

    Raises UnsafeImage, TransferInterrupted, and whatever the stream and the sink raise.
    """
    with closing(disk.open_stream()) as stream:
        reader = StreamReader(_Throttled(stream, take, cancel), sink.capacity)
        told = _Told()
        own = OwnBuffer()
        results = in_order(
            lambda batch: _store(batch, reader, sink, own.view),
            _batches(reader, told),
            workers=threads,
            cancel=cancel,
            abort=abort,
        )
        with closing(results):
            yield from results
        yield Written(sink.capacity, 0, [], 0, reader.wire_bytes - told.wire_bytes)


class _Throttled:
    def __init__(self, stream: ByteStream, take: Take, cancel: CancelCheck) -> None:
        self._stream = stream
        self._take = take
        self._cancel = cancel

    def readinto(self, buffer: memoryview) -> int:
        count = self._stream.readinto(buffer)
        self._take(count, self._cancel)
        return count

    def close(self) -> None:
        self._stream.close()


@dataclass
class _Told:
    wire_bytes: int = 0


def _batches(reader: StreamReader, told: _Told) -> Iterator[_Batch]:
    def batch() -> _Batch:
        passed, told.wire_bytes = reader.wire_bytes - told.wire_bytes, reader.wire_bytes
        return _Batch(start, grains, passed)

    grains: list[Grain] = []
    start = 0
    for grain in reader:
        if grain.offset >= start + WINDOW:
            if grains:
                yield batch()
            grains, start = [], grain.offset // WINDOW * WINDOW
        grains.append(grain)
    if grains:
        yield batch()


def _store(batch: _Batch, reader: StreamReader, sink: Sink, buffer: memoryview) -> Written:
    """Inflate a batch into the buffer, which the sink takes."""
    size = min(WINDOW, sink.capacity - batch.offset)
    touched: set[int] = set()
    position = 0
    for grain in batch.grains:
        data = reader.inflate(grain)
        start = grain.offset - batch.offset
        buffer[position:start] = bytes(start - position)
        position = start + len(data)
        buffer[start:position] = data
        touched.add(start // CELL * CELL)
    buffer[position:size] = bytes(size - position)
    return sink.store(batch.offset, buffer[:size], touched, batch.wire_bytes)
