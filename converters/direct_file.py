"""A file or block device that is written and read past the page cache, where its file system allows that.

What is written once and then read back to be compared gains nothing from the cache: it would be copied once more, and
read back from memory instead of from the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.domain.errors import TransferInterrupted
from converters.qcow2 import image_in_use, no_space

_BLOCK = 4096  # what direct I/O needs lengths and places to be multiples of
_LOCK = struct.Struct("hhqqi4x")  # struct flock
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # on such file systems QEMU, too, does without


class _Uses(NamedTuple):
    """Bytes of the file that stand for uses, see QEMU's file-posix.c: 100 reading, 101 writing, 103 resizing; 100 more
    for not sharing it.
    """

    held: tuple[int, ...]
    refused: tuple[int, ...]  # by whom others hold it


_WRITING = _Uses(held=(100, 101, 103, 200, 201, 203), refused=(100, 101, 103, 200, 201, 203))
_READING = _Uses(held=(100, 201, 203), refused=(101, 103, 200))


class DirectFile:
    """For any thread. Errors of all calls: NoSpace for a full file system, TransferInterrupted for any other."""

    def __init__(self, path: Path, cached: int, direct: int) -> None:
        self.path = path
        self._cached = cached
        self._direct = direct
        self._killed = False

    def size(self) -> int:
        with self._failing("reading"):
            return os.lseek(self._cached, 0, os.SEEK_END)

    def read(self, length: int, place: int) -> bytes:
        """Shorter where the file ends."""
        with self._failing("reading"):
            return os.pread(self._cached, length, place)

    def fill(self, buffer: memoryview, place: int) -> None:
        """Read into all of the buffer, zeros where the file ends; past the cache as `write` does."""
        with self._failing("reading"):
            self._past_the_cache(_fill, buffer, place)

    def write(self, data: memoryview, place: int) -> None:
        """Past the cache as far as `data` begins at a multiple of 4096 in memory and in the file."""
        with self._failing("writing"):
            self._past_the_cache(_write, data, place)

    def patch(self, data: bytes | memoryview, place: int) -> None:
        """Write something small, of any alignment."""
        with self._failing("writing"):
            _write(self._cached, memoryview(data), place)

    def resize(self, size: int) -> None:
        with self._failing("resizing"):
            os.ftruncate(self._cached, size)

    def sync(self) -> None:
        """Everything that was written before is on the disk when this returns."""
        with self._failing("flushing"):
            os.fdatasync(self._cached)

    def kill(self) -> None:
        """Later calls fail."""
        self._killed = True

    def _past_the_cache(self, move: Callable[[int, memoryview, int], None], data: memoryview, place: int) -> None:
        whole = len(data) // _BLOCK * _BLOCK
        try:
            move(self._direct, data[:whole], place)
        except OSError as error:
            if error.errno != errno.EINVAL or self._direct == self._cached:
                raise
            whole = 0
        move(self._cached, data[whole:], place + whole)

    @contextmanager
    def _failing(self, action: str) -> Iterator[None]:
        if self._killed:
            raise TransferInterrupted(f"{action} {self.path} was given up")
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise no_space(self.path) from error
            raise TransferInterrupted(f"{action} {self.path} failed: {error.strerror}") from error


@contextmanager
def open_direct(path: Path, *, writable: bool) -> Iterator[DirectFile]:
    """Open it, and until the end of the block let nobody else write it, or use it at all while we write.

    Raises TransientError for a file that another process writes or uses, TransferInterrupted for one that cannot be
    opened.
    """
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
    try:
        cached = direct = os.open(path, flags)
    except OSError as error:
        raise TransferInterrupted(f"opening {path} failed: {error.strerror}") from error
    try:
        _lock(path, cached, _WRITING if writable else _READING)
        try:
            direct = os.open(path, flags | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:  # tmpfs and some others have no direct I/O
                raise
        yield DirectFile(path, cached, direct)
    finally:
        if direct != cached:
            os.close(direct)
        os.close(cached)


def _lock(path: Path, file: int, uses: _Uses) -> None:
    """As QEMU does it: a lock on each use and on each that is not shared, then a look for those of others."""
    try:
        for place in uses.held:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, place, 1, 0))
        for place in uses.refused:
            found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
            if _LOCK.unpack(found)[0] != fcntl.F_UNLCK:
                raise image_in_use(path)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise image_in_use(path) from error
        if error.errno not in _NO_LOCKS:
            raise


def _fill(file: int, buffer: memoryview, place: int) -> None:
    while buffer:
        if not (count := os.preadv(file, [buffer], place)):
            buffer[:] = bytes(len(buffer))
            return
        buffer, place = buffer[count:], place + count


def _write(file: int, data: memoryview, place: int) -> None:
    while data:
        count = os.pwrite(file, data, place)
        data, place = data[count:], place + count
