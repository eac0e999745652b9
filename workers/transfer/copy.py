"""The source's stream into an empty qcow2: read, inflate, hash and write at the same time, zeros never written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.domain.errors import Conflict
from app.ports.disks import ByteStream
from app.ports.source import CancelCheck
from converters.qcow2 import check_plain
from converters.qemu_nbd import NbdImage, open_nbd
from converters.vmdk_stream import Grain, StreamReader
from workers.transfer.manifest import EXTENT, Manifest, ManifestBuilder, digest
from workers.transfer.pipeline import BATCH, in_order

PROGRESS_SECONDS = 0.5
WRITE = 512 << 10  # the most that one write takes: larger ones cost qemu-nbd up to four times the CPU


@dataclass(frozen=True)
class CopyProgress:
    """Guest bytes written, guest bytes found to be zeros, and bytes read from the stream, up to now."""

    bytes_done: int
    bytes_skipped: int
    wire_bytes: int


@dataclass(frozen=True)
class _Batch:
    """Grains inside BATCH guest bytes from `offset` on, `wire_bytes` into the stream."""

    offset: int
    grains: list[Grain]
    wire_bytes: int


@dataclass(frozen=True)
class _Written:
    end: int
    data_bytes: int
    digests: list[tuple[int, bytes]]  # of extents that are not all zeros
    wire_bytes: int


def copy_stream(
    stream: ByteStream,
    target: Path,
    capacity: int,
    *,
    progress: Callable[[CopyProgress], None],
    cancel: CancelCheck,
    disk: str = "",
    workers: int = 2,
) -> Manifest:
    """Copy a streamOptimized VMDK into the fresh qcow2 at `target`, both of `capacity` bytes, and say what was copied.

    When this returns, all bytes are on the disk and the image is closed. `progress` is called twice a second and at
    the end, in the caller's thread, as is `cancel`, whose exception passes through. After any exception the target is
    worthless, and no process or thread is left. The stream is not closed.
    Raises UnsafeImage, TransferInterrupted, NoSpace, Conflict (the target is not empty or of another size), ToolFailed,
    ToolMissing, and whatever the stream raises.
    """
    check_plain(target)
    with open_nbd(target, writable=True, connections=workers) as image:
        _require_empty(image, capacity)
        reader = StreamReader(stream, capacity)
        manifest = ManifestBuilder(disk, capacity)
        written, told = 0, time.monotonic()
        results = in_order(
            lambda batch: _write(batch, reader, image),
            _batches(reader),
            workers=workers,
            cancel=cancel,
            abort=image.kill,
        )
        with closing(results):
            for result in results:
                for index, value in result.digests:
                    manifest.add(index, value)
                written += result.data_bytes
                if (now := time.monotonic()) - told >= PROGRESS_SECONDS:
                    told = now
                    progress(CopyProgress(written, result.end - written, result.wire_bytes))
        cancel()
        image.flush()
    progress(CopyProgress(written, capacity - written, reader.wire_bytes))
    return manifest.build(data_bytes=written, wire_bytes=reader.wire_bytes)


def _require_empty(image: NbdImage, capacity: int) -> None:
    """Zeros are never written, so whatever is there already would stay."""
    if image.size != capacity:
        raise Conflict(f"{image.path} has {image.size} bytes, the disk {capacity}")
    for offset, length, zero in image.extents():
        if not zero:
            raise Conflict(f"{image.path} is not empty: it holds {length} bytes at {offset}", "Use a new volume.")


def _batches(reader: StreamReader) -> Iterator[_Batch]:
    grains: list[Grain] = []
    start = 0
    for grain in reader:
        if grain.offset >= start + BATCH:
            if grains:
                yield _Batch(start, grains, reader.wire_bytes)
            grains, start = [], grain.offset // BATCH * BATCH
        grains.append(grain)
    if grains:
        yield _Batch(start, grains, reader.wire_bytes)


def _write(batch: _Batch, reader: StreamReader, image: NbdImage) -> _Written:
    """Inflate a batch into one buffer, write its runs of data, hash its extents."""
    size = min(BATCH, image.size - batch.offset)
    buffer = memoryview(bytearray(size))
    touched: set[int] = set()
    runs: list[list[int]] = []
    for grain in batch.grains:
        data = reader.inflate(grain)
        if data == _zeros(len(data)):
            continue
        start = grain.offset - batch.offset
        end = start + len(data)
        buffer[start:end] = data
        touched.add(start // EXTENT)
        if runs and runs[-1][1] == start and end - runs[-1][0] <= WRITE:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    for start, end in runs:
        image.write(buffer[start:end], batch.offset + start)
    first = batch.offset // EXTENT
    return _Written(
        end=batch.offset + size,
        data_bytes=sum(end - start for start, end in runs),
        digests=[(first + part, digest(buffer[part * EXTENT : (part + 1) * EXTENT])) for part in sorted(touched)],
        wire_bytes=batch.wire_bytes,
    )


@cache
def _zeros(size: int) -> bytes:
    return bytes(size)
