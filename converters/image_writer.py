"""What a disk's bytes are written through: by ourselves into the file, or by qemu-nbd where QEMU compresses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from app.domain.models import ImageOptions
from converters.direct_file import DirectFile, open_direct
from converters.qcow2_writer import Qcow2Writer
from converters.qemu_nbd import open_nbd


class ImageWriter(Protocol):
    """An open image of `size` bytes, for any thread. Errors of all calls: NoSpace, TransferInterrupted."""

    size: int

    def write(self, data: memoryview, offset: int) -> None: ...

    def flush(self) -> None:
        """Everything that was written before is on the disk when this returns."""

    def kill(self) -> None:
        """Calls in other threads fail from now on."""


@contextmanager
def open_writer(path: Path, image: ImageOptions, *, connections: int) -> Iterator[ImageWriter]:
    """Open an image that `qcow2.create` made, or a block device. Nothing is flushed unasked.

    At the end of the block it is closed in order, after an exception only let go. `connections`: threads that write at
    a time. Raises TransientError for one that another process uses, UnsafeImage, NoSpace, TransferInterrupted,
    ToolFailed and ToolMissing.
    """
    if image.compressed:
        with open_nbd(path, writable=True, compressed=True, connections=connections + 1) as server:
            yield server
        return
    with open_direct(path, writable=True) as file:
        if image.format == "raw":
            yield _RawWriter(file)
        else:
            writer = Qcow2Writer(file)
            yield writer
            writer.close()


class _RawWriter:
    def __init__(self, file: DirectFile) -> None:
        self.size = file.size()
        self.write = file.write
        self.flush = file.sync
        self.kill = file.kill
