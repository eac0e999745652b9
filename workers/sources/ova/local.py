"""Files of the worker's machine: plain files only, no link is followed, and a change while reading is noticed."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from app.domain.errors import NotFound, SourceChanged, SourceDenied, SourceUnavailable

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in its place must not hold us up


class LocalFolder:
    """A folder held open, so that its files are those in it even when somebody moves it.

    The path itself is the user's and may lead over links; nothing in it may be one.
    """

    def __init__(self, path: str, inside: LocalFolder | None = None) -> None:
        """`inside`: the folder whose folder `path` is, by its name alone."""
        self.path: str = path if inside is None else f"{inside.path}/{path}"
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with translated(self.path):
            if inside is None:
                self._handle = os.open(path, flags)
            else:
                self._handle = os.open(path, flags | os.O_NOFOLLOW, dir_fd=inside._handle)

    def names(self) -> list[str]:
        with translated(self.path):
            return sorted(os.listdir(self._handle))

    def is_folder(self, name: str) -> bool:
        """Whether a folder is there, and no link to one."""
        with translated(f"{self.path}/{name}"):
            return stat.S_ISDIR(os.stat(name, dir_fd=self._handle, follow_symlinks=False).st_mode)

    def open(self, name: str) -> LocalFile:
        return LocalFile(f"{self.path}/{name}", name, self._handle)

    def modified(self, name: str) -> datetime:
        """When it was written or put there last."""
        with translated(f"{self.path}/{name}"):
            return _changed(os.stat(name, dir_fd=self._handle, follow_symlinks=False))

    def close(self) -> None:
        os.close(self._handle)


class LocalFile:
    """Storage: one plain file."""

    ranges = True

    def __init__(self, path: str, name: str, folder: int) -> None:
        """`folder` is the descriptor of the folder that `name` is in. Raises NotFound, SourceDenied."""
        self.name = path
        self._place = (name, folder)
        with translated(path):
            self._handle = os.open(name, _FLAGS, dir_fd=folder)
        self._status = os.fstat(self._handle)
        if not stat.S_ISREG(self._status.st_mode):
            self.close()
            raise SourceDenied(f"{path} is no plain file", "Give the file itself.")
        self.size = self._status.st_size

    @property
    def stamp(self) -> str:
        seen = self._status
        return f"{self.name} {seen.st_dev}:{seen.st_ino} {seen.st_size} {seen.st_mtime_ns}"

    def fresh(self) -> bool:
        """Whether its name still leads to the file as it was opened."""
        name, folder = self._place
        try:
            return _key(os.stat(name, dir_fd=folder, follow_symlinks=False)) == _key(self._status)
        except OSError:
            return False

    def read(self, offset: int, length: int) -> bytes:
        data = memoryview(bytearray(length))
        stream = self.stream(offset, length)
        try:
            done = 0
            while done < length:
                done += stream.readinto(data[done:])
        finally:
            stream.close()
        return bytes(data)

    def stream(self, offset: int = 0, length: int | None = None) -> LocalStream:
        end = self.size if length is None else offset + length
        with translated(self.name):
            return LocalStream(self.name, os.dup(self._handle), self._status, offset, end)

    def close(self) -> None:
        """Its streams stay open until they are closed."""
        os.close(self._handle)


class LocalStream:
    """ByteStream: a part of a LocalFile, with a handle of its own."""

    def __init__(self, name: str, handle: int, status: os.stat_result, start: int, end: int) -> None:
        self._name = name
        self._handle = handle
        self._status = status  # as it was when the file was opened
        self._place = start
        self._end = end
        self._reading = threading.Lock()  # a number that was closed may be another file's at the next moment

    def readinto(self, buffer: memoryview) -> int:
        """Raises SourceChanged for a file that was written since it was opened, at its end at the latest."""
        with self._reading, translated(self._name):
            wanted = min(len(buffer), self._end - self._place)
            count = os.preadv(self._handle, [buffer[:wanted]], self._place) if wanted else 0
            if not count:
                self._require_unchanged(cut=wanted > 0)
            self._place += count
            return count

    def interrupt(self) -> None:
        """A local file does not block for long."""

    def close(self) -> None:
        with self._reading:
            if self._handle >= 0:
                os.close(self._handle)
            self._handle = -1

    def _require_unchanged(self, *, cut: bool) -> None:
        if cut or _key(os.fstat(self._handle)) != _key(self._status):
            raise SourceChanged(
                f"{self._name} was written while it was read", "Wait until it is whole, and move the VM again."
            )


def _key(seen: os.stat_result) -> tuple[int, ...]:
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _changed(seen: os.stat_result) -> datetime:
    # a file that was moved or copied here keeps its mtime; its ctime tells when it came
    return datetime.fromtimestamp(max(seen.st_mtime, seen.st_ctime), UTC)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise what the system says about a path as NotFound, SourceDenied or SourceUnavailable."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there", "See whether it is on the machine where the worker runs.") from error
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and os.path.islink(path)):
            raise SourceDenied(f"{path} is a symbolic link: no link is followed", "Give the path itself.") from error
        if error.errno == errno.ENOTDIR:
            raise NotFound(f"{path} is no folder", "Give the path of a file, or of a folder.") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SourceDenied(f"{path} may not be read", "Let the worker's user read it.") from error
        raise SourceUnavailable(
            f"{path} could not be read: {error.strerror}", "See whether its storage is up."
        ) from error
