"""An image opened through qemu-nbd and libnbd, read and written by many threads without the GIL.

qemu-nbd is a child on a Unix socket in a folder that only we can enter, and it ends with the block that opened it.
"""

from __future__ import annotations

import errno
import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbd

from app.domain.errors import NoSpace, ToolFailed, ToolTimedOut, TransferInterrupted
from app.process import Process, spawn
from converters.qcow2 import NO_SPACE_TEXTS, Format, known_cause, no_space

START_SECONDS = 60.0
STOP_SECONDS = 60.0  # qemu-nbd writes its metadata when it closes
_LAST_WORDS_SECONDS = 0.5
_STATUS_SPAN = 1 << 30  # the largest block-status question; the protocol has 32 bits


class NbdImage:
    """An open image of `size` bytes, for any thread; as many calls run at once as it has connections.

    All raise NoSpace for a full file system and TransferInterrupted when qemu-nbd fails or has ended.
    """

    def __init__(self, path: Path, server: Process, handles: list[nbd.NBD]) -> None:
        self.path = path
        self.size: int = handles[0].get_size()
        self._server = server
        self._handles = handles
        self._free: queue.SimpleQueue[nbd.NBD] = queue.SimpleQueue()
        for handle in handles:
            self._free.put(handle)

    def read(self, length: int, offset: int) -> bytearray:
        with self._handle("reading") as handle:
            data: bytearray = handle.pread(length, offset)
            return data

    def write(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        with self._handle("writing") as handle:
            handle.pwrite(data, offset)

    def zero(self) -> None:
        """Make all of it zeros, by discarding where the storage can."""
        for offset in range(0, self.size, _STATUS_SPAN):
            with self._handle("clearing") as handle:
                handle.zero(min(_STATUS_SPAN, self.size - offset), offset)

    def flush(self) -> None:
        """Everything that was written before is on the disk when this returns."""
        with self._handle("flushing") as handle:
            handle.flush()

    def extents(self) -> Iterator[tuple[int, int, bool]]:
        """(offset, length, reads as zeros) over the whole image in order, neighbours of one kind joined."""
        offset, start, kind = 0, 0, False
        while offset < self.size:
            entries: list[int] = []

            def note(context: str, _offset: int, found: list[int], _error: object, into: list[int] = entries) -> int:
                if context == nbd.CONTEXT_BASE_ALLOCATION:
                    into += found
                return 0

            with self._handle("asking for the allocation of") as handle:
                handle.block_status(min(_STATUS_SPAN, self.size - offset), offset, note)
            if not entries:
                raise TransferInterrupted(f"qemu-nbd does not say which parts of {self.path} are allocated")
            for length, flags in zip(entries[::2], entries[1::2], strict=True):
                zero = bool(flags & nbd.STATE_ZERO)
                if zero != kind and offset > start:
                    yield start, offset - start, kind
                    start = offset
                kind = zero
                offset = min(offset + length, self.size)
        if offset > start:
            yield start, offset - start, kind

    def close(self) -> None:
        """Leave the server in order and wait until it has closed the image. Flush first."""
        with self._handle("closing") as last:
            for handle in self._handles:
                if handle is not last:
                    handle.shutdown()
            last.shutdown()
        if self._server.stop(STOP_SECONDS) != 0:
            raise self._broken("closing", self._server.failure().message)

    def kill(self) -> None:
        """End the server now: calls that wait for it in other threads fail."""
        self._server.stop(0)

    @contextmanager
    def _handle(self, action: str) -> Iterator[nbd.NBD]:
        handle = self._free.get()
        try:
            yield handle
        except nbd.Error as error:
            if error.errnum in (errno.ENOSPC, errno.EDQUOT):
                raise no_space(self.path) from error
            raise self._broken(action, error.string) from error
        finally:
            self._free.put(handle)

    def _broken(self, action: str, reason: str) -> TransferInterrupted | NoSpace:
        state = "has ended" if _ends(self._server) else "is running"
        tail = self._server.stderr_tail().strip()
        if any(text in tail for text in NO_SPACE_TEXTS):
            return no_space(self.path)
        return TransferInterrupted(
            f"{action} {self.path} failed, qemu-nbd {state}: {tail or reason}", stderr_tail=tail or None
        )


@contextmanager
def open_nbd(
    path: Path,
    *,
    format: Format = "qcow2",
    writable: bool = False,
    compressed: bool = False,
    discard: bool = True,
    connections: int = 4,
) -> Iterator[NbdImage]:
    """Serve `path`, which must have been checked for foreign references, and connect `connections` times.

    `compressed`: clusters are compressed as they are written, each at once and whole. At the end of the block the image
    is closed in order; after an exception the server is only stopped. Nothing is flushed unasked. Raises ToolMissing,
    TransientError for an image that another process writes, ToolFailed with qemu-nbd's reason when it cannot be opened,
    and at the end TransferInterrupted or NoSpace when it could not be closed.
    """
    with tempfile.TemporaryDirectory(prefix="vmferry-nbd-") as folder:
        socket = Path(folder, "s")
        words = ["qemu-nbd", "-k", str(socket), "-e", str(connections), "-t", "--cache=writeback"]
        words += [f"--discard={'unmap' if discard else 'ignore'}"] if writable else ["--read-only"]
        file = str(path.absolute())
        if compressed:
            inner = f"file.driver={format},file.file.driver=file,file.file.filename={file.replace(',', ',,')}"
            words += ["--image-opts", f"driver=compress,{inner}"]
        else:
            words += ["-f", format, "--", file]
        with spawn(words) as server:
            try:
                handles = [_connect(server, socket) for _ in range(connections)]
            except ToolFailed as error:
                if known := known_cause(path, error):
                    raise known from error
                raise
            image = NbdImage(path, server, handles)
            yield image
            image.close()


def _connect(server: Process, socket: Path) -> nbd.NBD:
    deadline = time.monotonic() + START_SECONDS
    while True:
        handle = nbd.NBD()
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        try:
            handle.connect_unix(str(socket))
        except nbd.Error as error:
            early = error.errnum in (errno.ENOENT, errno.ECONNREFUSED)
            if _ends(server, 0.01 if early else _LAST_WORDS_SECONDS):
                raise server.failure() from error
            if not early or time.monotonic() > deadline:
                raise TransferInterrupted(f"qemu-nbd took no connection: {error.string}") from error
        else:
            return handle


def _ends(server: Process, within: float = _LAST_WORDS_SECONDS) -> bool:
    """Whether it has ended or is about to: it closes its connections before it has said why."""
    try:
        server.wait(within)
    except ToolTimedOut:
        return False
    return True
