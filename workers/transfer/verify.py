"""The target's bytes, read back and compared with the hashes that were taken from the source's stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.domain.errors import CopyMismatch
from app.ports.source import CancelCheck
from converters.qcow2 import Format, check_plain
from converters.qemu_nbd import NbdImage, open_nbd
from workers.transfer.manifest import EXTENT, Manifest, digest, zero_digest
from workers.transfer.pipeline import in_order
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
    """Up to WINDOW bytes from `offset` on; of each extent its digest (None: zeros) and whether it is a hole."""

    offset: int
    length: int
    expected: list[tuple[bytes | None, bool]]


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
    """The whole image in order, each extent with whether all of it is a hole, so that it need not be read."""
    extents = zip(manifest.extents(), _holes(image), strict=True)
    for offset in range(0, image.size, WINDOW):
        yield _Batch(offset, min(WINDOW, image.size - offset), list(islice(extents, WINDOW // EXTENT)))


def _holes(image: NbdImage) -> Iterator[bool]:
    holes = (range(offset, offset + length) for offset, length, zero in image.extents() if zero)
    hole = next(holes, range(0))
    for offset in range(0, image.size, EXTENT):
        while hole and hole.stop <= offset:
            hole = next(holes, range(0))
        yield hole.start <= offset and min(offset + EXTENT, image.size) <= hole.stop


def _compare(batch: _Batch, image: NbdImage) -> tuple[_Batch, int, list[int]]:
    """Bytes read, and the offsets of extents that differ."""
    read, bad = 0, []
    for index, (expected, hole) in enumerate(batch.expected):
        offset = batch.offset + index * EXTENT
        size = min(EXTENT, image.size - offset)
        found = zero_digest(size) if hole else digest(image.read(size, offset))
        read += 0 if hole else size
        if found != (expected or zero_digest(size)):
            bad.append(offset)
    return batch, read, bad
