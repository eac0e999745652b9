"""The target's bytes, read back and compared with the hashes that were taken from the source's stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.domain.errors import CopyMismatch
from app.ports.disks import Area
from app.ports.source import CancelCheck
from converters.qcow2 import Format, check_plain
from converters.qemu_nbd import NbdImage, open_nbd
from workers.transfer.manifest import EXTENT, Manifest, digest, zero_digest
from workers.transfer.pipeline import in_order
from workers.transfer.ranges import windows_of
from workers.transfer.sink import WINDOW

PROGRESS_SECONDS = 0.5
NAMED_OFFSETS = 8  # how many differing places an error lists


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
    data: list[Area]


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
    with open_nbd(path, format=format, connections=workers + 1) as image:
        if image.size != manifest.capacity:
            raise CopyMismatch(f"{path} has {image.size} bytes, the source's disk {manifest.capacity}", path=str(path))
        bad: list[int] = []
        compared = read = 0
        told = time.monotonic()
        results = in_order(
            lambda batch: _compare(batch, image),
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


def _batches(image: NbdImage, manifest: Manifest) -> Iterator[_Batch]:
    """The whole image in order."""
    expected = manifest.extents()
    data = (Area(offset, length) for offset, length, zero in image.extents() if not zero)
    windows = windows_of(data, lambda area: True)
    window = next(windows, None)
    for offset in range(0, image.size, WINDOW):
        pieces: list[Area] = []
        if window is not None and window.offset == offset:
            pieces, window = window.pieces, next(windows, None)
        yield _Batch(offset, min(WINDOW, image.size - offset), list(islice(expected, WINDOW // EXTENT)), pieces)


def _compare(batch: _Batch, image: NbdImage) -> tuple[_Batch, int, list[int]]:
    """Bytes read, and the offsets of extents that differ."""
    bad = []
    for index, expected in enumerate(batch.expected):
        offset = batch.offset + index * EXTENT
        size = min(EXTENT, image.size - offset)
        if _digest(image, Area(offset, size), batch.data) != (expected or zero_digest(size)):
            bad.append(offset)
    return batch, sum(piece.length for piece in batch.data), bad


def _digest(image: NbdImage, extent: Area, data: list[Area]) -> bytes:
    """Of an extent; what is not in `data` is zeros and not read."""
    pieces = [piece for area in data if (piece := area.inside(extent)) is not None]
    if not pieces:
        return zero_digest(extent.length)
    if pieces == [extent]:
        return digest(image.read(extent.length, extent.offset))
    content = bytearray(extent.length)
    for piece in pieces:
        start = piece.offset - extent.offset
        content[start : start + piece.length] = image.read(piece.length, piece.offset)
    return digest(content)
