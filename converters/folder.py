"""Files opened by their plain names in one folder and nowhere else: never through a link, never a device."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from app.domain.errors import NotFound, SourceDenied, SourceUnavailable, TransferInterrupted, UnsafeImage, VmferryError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = re.compile(r"[^/\\:\x00-\x1f\x7f\ufffd]{1,255}")  # no folder, no device, no protocol


def is_plain(name: str) -> bool:
    """Whether it names a file in a folder, and can name nothing else."""
    return bool(_PLAIN.fullmatch(name)) and name not in {".", ".."}


class Folder:
    """Raises NotFound, SourceDenied and SourceUnavailable as opening a file in it does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise _refused(path, error) from error

    def open(self, name: str) -> File:
        """Raises UnsafeImage for what is no plain name of a regular file, NotFound, SourceDenied, SourceUnavailable."""
        path = self.path / name
        if not is_plain(name):
            raise UnsafeImage(f"{name[:80]!r} is no plain file name", "Put the file into the folder of what names it.")
        try:
            seen = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
            _require_regular(path, seen)
            # Without waiting: what was a file when we looked may be a pipe now.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(name, flags, dir_fd=self._handle)
        except (OSError, ValueError) as error:
            raise _refused(path, error) from error
        try:
            return File(path, handle)
        except BaseException:
            os.close(handle)
            raise

    def close(self) -> None:
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class File:
    """An open regular file of `size` bytes; `inode` tells it from every other one. Any thread may read it.

    Reads are exact. They raise TransferInterrupted when the file cannot be read, or became shorter meanwhile.
    """

    def __init__(self, path: Path, handle: int) -> None:
        seen = os.fstat(handle)
        _require_regular(path, seen)
        self.path = path
        self.name = path.name
        self.size = seen.st_size
        self.inode = (seen.st_dev, seen.st_ino)
        self._handle = handle

    def identity(self) -> str:
        """Name, size, inode and time of the last change, as they are now."""
        seen = os.fstat(self._handle)
        return f"{self.name} {seen.st_size} {seen.st_ino} {seen.st_mtime_ns}"

    def changed_at(self) -> datetime:
        """Rounded down to a microsecond."""
        return _EPOCH + timedelta(microseconds=os.fstat(self._handle).st_mtime_ns // 1000)

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.fill(memoryview(data), offset)
        return bytes(data)

    def fill(self, buffer: memoryview, offset: int) -> None:
        """Read len(buffer) bytes straight into the buffer."""
        done, length = 0, len(buffer)
        while done < length:
            try:
                count = os.preadv(self._handle, [buffer[done:]], offset + done)
            except OSError as error:
                raise TransferInterrupted(f"{self.path} could not be read: {error.strerror}") from error
            if not count:
                raise TransferInterrupted(f"{self.path} ends before byte {offset + length}, which it had before")
            done += count

    def data(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """(start, end) of what is no hole of the file, from `offset` on; where holes cannot be seen, of it all."""
        end = offset + length
        while offset < end:
            try:
                start = os.lseek(self._handle, offset, os.SEEK_DATA)
                stop = os.lseek(self._handle, start, os.SEEK_HOLE) if start < end else end
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the file's end
                    return
                start, stop = offset, end
            if start < end:
                yield start, min(stop, end)
            offset = max(stop, offset + 1)

    def is_hole(self, offset: int, length: int) -> bool:
        """Whether it is known to read as zeros there."""
        return next(self.data(offset, length), None) is None

    def close(self) -> None:
        """Reads fail from now on, and never read from whatever gets its number next."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def _require_regular(path: Path, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        kind = "a link" if stat.S_ISLNK(seen.st_mode) else "no regular file"
        raise UnsafeImage(f"{path} is {kind}", "Copy the file itself there.")


def _refused(path: Path, error: OSError | ValueError) -> VmferryError:
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL):
        return NotFound(f"{path} is not there", "Copy all files of the disk into one folder, under their own names.")
    if number == errno.ELOOP:
        return UnsafeImage(f"{path} is a link", "Copy the file itself there.")
    if number in (errno.EACCES, errno.EPERM):
        return SourceDenied(f"{path} may not be read", "Let the account that vmferry runs as read it.")
    if number in (errno.EMFILE, errno.ENFILE):
        return SourceUnavailable(f"{path}: too many files are open", "Raise the limit: LimitNOFILE= of the service.")
    return SourceUnavailable(f"{path} could not be opened: {error}", "See whether its file system is in order.")
