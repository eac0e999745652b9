"""An image read back: where its bytes lie QEMU says, and they are read from the disk, past the page cache.

What is compressed only QEMU can read: that comes through qemu-nbd.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from converters import qcow2
from converters.direct_file import DirectFile, open_direct
from converters.qcow2 import Data, Format
from converters.qemu_nbd import NbdImage, open_nbd


class ImageReader:
    """An open image of `size` bytes, for any thread. Errors of all calls: TransferInterrupted, ToolFailed."""

    def __init__(self, path: Path, format: Format, connections: int, file: DirectFile, stack: ExitStack) -> None:
        self.size: int = file.size() if format == "raw" else qcow2.info(path)["virtual-size"]
        self._path = path
        self._format = format
        self._connections = connections
        self._file = file
        self._stack = stack  # of what is open until the block ends
        self._lock = threading.Lock()
        self._server: NbdImage | None = None

    def data(self) -> Iterator[Data]:
        """All that is no hole, in order. It may be asked for in one thread while others read."""
        return self._stack.enter_context(qcow2.layout(self._path, self._format))

    def read(self, piece: Data, buffer: memoryview) -> None:
        """Fill the buffer, which is as long as the piece. Fastest where it begins at a page's start."""
        if piece.place is None:
            buffer[:] = self._decompressing().read(piece.length, piece.offset)
        else:
            self._file.fill(buffer, piece.place)

    def _decompressing(self) -> NbdImage:
        with self._lock:
            if self._server is None:
                image = open_nbd(self._path, format=self._format, connections=self._connections)
                self._server = self._stack.enter_context(image)
            return self._server

    def kill(self) -> None:
        """Calls of other threads fail from now on."""
        self._file.kill()
        if self._server is not None:
            self._server.kill()


@contextmanager
def open_reader(path: Path, format: Format, *, connections: int) -> Iterator[ImageReader]:
    """Open an image, which a qcow2 must have been checked for foreign references; `connections`: threads that read.

    Raises TransientError for one that another process writes, TransferInterrupted, ToolFailed and ToolMissing.
    """
    with open_direct(path, writable=False) as file, ExitStack() as stack:
        yield ImageReader(path, format, connections, file, stack)
