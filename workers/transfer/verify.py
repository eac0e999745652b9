"""The target's bytes, read back and compared with the hashes that were taken from the source's stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from app.domain.errors import CopyMismatch
from app.ports.source import CancelCheck
from converters.image_reader import ImageReader, open_reader
from converters.qcow2 import Data, Format, check_plain
from workers.transfer.buffers import OwnBuffer
from workers.transfer.manifest import EXTENT, Manifest, digest, zero_digest
from workers.transfer.pipeline import in_order
from workers.transfer.sink import WINDOW

PROGRESS_SECONDS = 0.5
NAMED_OFFSETS = 8  # how many differing places an error lists
_NONE: tuple[int, Iterator[Data]] = (-1, iter(()))


@dataclass(frozen=True)
class VerifyResult:
    """Every byte of the disk was compared: `bytes_read`, and `bytes_skipped` that the format says are zeros."""

    bytes_read: int
    bytes_skipped: int
    digest: str  # the manifest's, which is now also the target's


@dataclass(frozen=True)
class _Batch:
    """Up to WINDOW bytes from `offset` on, the digest of each extent (None: zeros), and where there are no holes."""

    offset: int
    length: int
    expected: list[bytes | None]
    data: list[Data]


def verify_copy(
    path: Path,
    manifest: Manifest,
    *,
    format: Format = "qcow2",
    progress: Callable[[int], None],
    cancel: CancelCheck,
    workers: int = 2,
) -> VerifyResult:
    """Open the image anew, read-only, and compare all of it with the manifest.

    `progress` gets the guest bytes compared so far, twice a second and at the end; `cancel` stops by raising. Both run
    in the caller's thread. Raises CopyMismatch, which names the disk and the first differing offsets, UnsafeImage,
    TransferInterrupted, ToolFailed and ToolMissing.
    """
    if format == "qcow2":
        check_plain(path)
    with open_reader(path, format, connections=workers) as image:
        if image.size != manifest.capacity:
            raise CopyMismatch(f"{path} has {image.size} bytes, the source's disk {manifest.capacity}", path=str(path))
        own = OwnBuffer()
        bad: list[int] = []
        compared = read = 0
        told = time.monotonic()
        results = in_order(
            lambda batch: _compare(batch, image, own.view),
            _batches(image, manifest),
            workers=workers,
            cancel=cancel,
            abort=image.kill,
        )
        with closing(results):
            for batch, size, found in results:
                bad += found
                compared += batch.length
                read += size
                if len(bad) >= NAMED_OFFSETS:
                    break
                if (now := time.monotonic()) - told >= PROGRESS_SECONDS:
                    told = now
                    progress(compared)
        if bad:
            raise CopyMismatch(
                f"disk {manifest.disk or path.name}: the target differs from the source at "
                + ", ".join(str(offset) for offset in bad[:NAMED_OFFSETS]),
                "Copy it again. If it happens again, check this machine's memory and storage.",
                disk=manifest.disk,
                offsets=bad[:NAMED_OFFSETS],
                path=str(path),
            )
    progress(compared)
    return VerifyResult(read, compared - read, manifest.digest)


def _batches(image: ImageReader, manifest: Manifest) -> Iterator[_Batch]:
    """The whole image in order."""
    expected = manifest.extents()
    windows = groupby(_cut(image.data()), key=lambda piece: piece.offset // WINDOW * WINDOW)
    with_data, pieces = next(windows, _NONE)
    for offset in range(0, image.size, WINDOW):
        data: list[Data] = []
        if offset == with_data:
            data = list(pieces)
            with_data, pieces = next(windows, _NONE)
        yield _Batch(offset, min(WINDOW, image.size - offset), list(islice(expected, WINDOW // EXTENT)), data)


def _cut(data: Iterable[Data]) -> Iterator[Data]:
    """At the windows' borders."""
    for offset, length, place in data:
        end = offset + length
        while offset < end:
            stop = min(end, (offset // WINDOW + 1) * WINDOW)
            yield Data(offset, stop - offset, place)
            place = None if place is None else place + stop - offset
            offset = stop


def _compare(batch: _Batch, image: ImageReader, buffer: memoryview) -> tuple[_Batch, int, list[int]]:
    """Bytes read, and the offsets of extents that differ."""
    position = 0
    touched: set[int] = set()
    for piece in batch.data:
        start = piece.offset - batch.offset
        buffer[position:start] = bytes(start - position)
        position = start + piece.length
        image.read(piece, buffer[start:position])
        touched.update(range(start // EXTENT, -(-position // EXTENT)))
    buffer[position : batch.length] = bytes(batch.length - position)
    bad = []
    for index, expected in enumerate(batch.expected):
        view = buffer[index * EXTENT : min((index + 1) * EXTENT, batch.length)]
        zeros = zero_digest(len(view))
        if (digest(view) if index in touched else zeros) != (expected or zeros):
            bad.append(batch.offset + index * EXTENT)
    return batch, sum(piece.length for piece in batch.data), bad
