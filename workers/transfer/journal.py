"""What of a disk is surely on the target: written only after the target was flushed, read when a copy goes on.

A line of JSON says which source this is; records of 32 bytes follow, one for each extent. A record that a crash tore is
not counted, and neither is what follows it. The file is locked while a copy uses it.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import xxhash

from app.domain.errors import TransientError
from workers.transfer.extents import Extent, ExtentTable
from workers.transfer.manifest import ALGORITHM, EXTENT

VERSION = 1
_RECORD = struct.Struct("<QI16s")  # index, data bytes, digest (zeros: all zeros)
_CHECK = struct.Struct("<I")
_SIZE = _RECORD.size + _CHECK.size
_WIRE = (1 << 64) - 1  # instead of an index: the digest's place holds the bytes read from the source so far
_NO_DIGEST = bytes(16)
_MAX_HEAD = 64 << 10


class Journal:
    """`table`: the extents that are on the target; `wire_bytes`: read from the source up to the last commit.

    `new`: nothing was copied under it before. Otherwise the target may hold more of this same source than it knows.
    """

    def __init__(self, path: Path, file: BinaryIO, capacity: int, *, new: bool) -> None:
        self.path = path
        self.table = ExtentTable(capacity)
        self.wire_bytes = 0
        self.new = new
        self._file = file

    @classmethod
    def create(cls, path: Path, identity: str, capacity: int) -> Journal:
        """A new one, on disk when this returns; one that is there is replaced. Raises TransientError when in use."""
        file = _locked(path, os.O_CREAT)
        file.truncate(0)
        file.write(_head(identity, capacity))
        journal = cls(path, file, capacity, new=True)
        journal._sync()
        sync_folder(path.parent)
        return journal

    @classmethod
    def resume(cls, path: Path, identity: str, capacity: int) -> Journal | None:
        """What an earlier copy left; None when there is none, or it was of another source. Raises as create does."""
        if not path.exists():
            return None
        file = _locked(path, 0)
        head = _head(identity, capacity)
        if file.read(len(head)) != head:
            file.close()
            return None
        journal = cls(path, file, capacity, new=False)
        end = journal._read(len(head))
        file.seek(end)
        file.truncate()
        return journal

    def commit(self, extents: Sequence[Extent], wire_bytes: int) -> None:
        """Add extents that have been flushed to the target; on disk when this returns."""
        self.wire_bytes = wire_bytes
        records = [_record(item.index, item.data_bytes, item.digest or _NO_DIGEST) for item in extents]
        records.append(_record(_WIRE, 0, wire_bytes.to_bytes(16, "little")))
        self._file.write(b"".join(records))
        self._sync()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _read(self, start: int) -> int:
        """Take over all whole records; answers where they end."""
        end = start
        while len(record := self._file.read(_SIZE)) == _SIZE:
            body, check = record[: _RECORD.size], record[_RECORD.size :]
            index, data_bytes, digest = _RECORD.unpack(body)
            if xxhash.xxh32_intdigest(body) != _CHECK.unpack(check)[0]:
                break
            if index == _WIRE:
                self.wire_bytes = int.from_bytes(digest, "little")
            elif index >= self.table.count:
                break
            else:
                self.table.add(Extent(index, data_bytes, None if digest == _NO_DIGEST else digest))
            end += _SIZE
        return end

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def _head(identity: str, capacity: int) -> bytes:
    said = {"version": VERSION, "algorithm": ALGORITHM, "extent": EXTENT, "capacity": capacity, "source": identity}
    head = json.dumps(said, sort_keys=True).encode()[:_MAX_HEAD] + b"\n"
    return head


def _record(index: int, data_bytes: int, digest: bytes) -> bytes:
    body = _RECORD.pack(index, data_bytes, digest)
    return body + _CHECK.pack(xxhash.xxh32_intdigest(body))


def _locked(path: Path, flags: int) -> BinaryIO:
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise TransientError(
            f"{path} is in use by another copy of the same disk", "Wait until that one ends.", code="copy_in_use"
        ) from error
    return file


def sync_folder(folder: Path) -> None:
    """A new or renamed file survives a power cut only when its folder is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
