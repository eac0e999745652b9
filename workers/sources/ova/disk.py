"""An open package: its disks as streams that are hashed on their way and held against the manifest at their end."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from app.domain.errors import LeaseExpired, NotFound, TransferInterrupted
from app.domain.models import Transport
from app.ports.disks import Area, ByteStream, RangeReader
from converters.ovf_system import System
from converters.package_digests import ALGORITHMS, Digest
from converters.package_names import refuse
from workers.sources.ova.package import Package, wrong_size
from workers.sources.ova.storage import Interruptible

CONNECTIONS = 4


class PackageAccess:
    """DiskAccess. A disk that was read in part only is no disk: `finish` says so."""

    transport = Transport.FILE

    def __init__(self, package: Package, system: System) -> None:
        self.connections = CONNECTIONS if package.contents.ranges else 1
        self._package = package
        self._system = system
        self._streams: list[DigestedStream] = []
        self._lock = threading.Lock()
        self._over = False

    @property
    def disk_keys(self) -> Sequence[int]:
        return [disk.key for disk in self._system.vm.disks]

    def disk(self, key: int) -> PackagedDisk | EmptyDisk:
        for disk in self._system.vm.disks:
            if disk.key == key:
                file = self._system.files.get(key)
                return PackagedDisk(self, self._package, file) if file else EmptyDisk(disk.capacity_bytes)
        raise NotFound(f"{self._package.name} has no disk {key}", "List the VM's disks again.")

    def open(self, file: str) -> ByteStream:
        self.alive()
        stream = DigestedStream(self, self._package, file)
        with self._lock:
            if self._over:  # it ended while we connected
                stream.close()
            self._streams.append(stream)
        self.alive()
        return stream

    def report_percent(self, percent: int) -> None:
        """Files do not ask."""

    def alive(self) -> None:
        if self._over:
            raise LeaseExpired(f"{self._package.name} was closed", "Its disks are read again.")

    def finish(self) -> None:
        """Raise TransferInterrupted for a disk that was begun and never read to its end, where its digest is told."""
        whole = {stream.file for stream in self._streams if stream.whole}
        for stream in self._streams:
            if stream.begun and stream.file not in whole:
                raise TransferInterrupted(
                    f"{stream.file} of {self._package.name} was not read to its end, so that its digest is not known",
                    "It is read again.",
                )

    def end(self) -> None:
        """No read succeeds from now on; those under way wake up."""
        with self._lock:
            self._over = True
            streams = list(self._streams)
        for stream in streams:
            stream.interrupt()
            stream.close()


class PackagedDisk:
    """StreamDisk."""

    def __init__(self, access: PackageAccess, package: Package, file: str) -> None:
        self._access = access
        self._package = package
        self._file = file

    @property
    def identity(self) -> str:
        return f"{self._package.contents.stamp(self._file)} {self._package.expected(self._file) or ''}".strip()

    def open_stream(self) -> ByteStream:
        return self._access.open(self._file)


class EmptyDisk:
    """RangeDisk: a disk that a descriptor names without a file has no data."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.identity = f"empty {capacity}"

    def areas(self) -> Iterable[Area]:
        return ()

    def open_reader(self) -> RangeReader:
        return _Zeros()


class _Zeros:
    def start(self, offset: int, length: int) -> None: ...
    def fill(self, buffer: memoryview) -> None:
        buffer[:] = bytes(len(buffer))

    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class DigestedStream:
    """ByteStream: the whole of a file, or an error. 0 is given only when its size and its digest are right."""

    def __init__(self, access: PackageAccess, package: Package, file: str) -> None:
        self.file = file
        self.whole = False
        self.begun = False
        self._access = access
        self._package = package
        self._inner: Interruptible = package.contents.open(file)
        self._size = package.contents.size(file)
        self._count = 0
        self._hashes = self._begin()

    def readinto(self, buffer: memoryview) -> int:
        self._access.alive()
        if self.whole:
            return 0
        try:
            count = self._inner.readinto(buffer)
        except TransferInterrupted:
            self._access.alive()  # it may be us who broke the connection
            raise
        self._access.alive()
        if count:
            self.begun = True
            self._count += count
            for hashed in self._hashes.values():
                hashed.update(buffer[:count])
        elif len(buffer):
            self._check()
            self.whole = True
        return count

    def interrupt(self) -> None:
        self._inner.interrupt()

    def close(self) -> None:
        self._inner.close()

    def _begin(self) -> dict[str, Any]:
        """By algorithm; all of them while the manifest is still to come."""
        if self._package.contents.manifest_is_ahead:
            return {name: hashlib.new(name, usedforsecurity=False) for name in ALGORITHMS}
        digest = self._package.expected(self.file)
        return {} if digest is None else {digest.algorithm: digest.new()}

    def _check(self) -> None:
        digest: Digest | None = self._package.expected(self.file)
        said = self._size if digest is not None else self._size or self._package.said_size(self.file)
        if said is not None and self._count != said:
            raise wrong_size(self.file, self._count, said)
        if digest is None:
            return
        found = self._hashes[digest.algorithm].digest()
        if found != digest.value:
            raise refuse(self.file, f"its {digest.algorithm} is {found.hex()}, its manifest says {digest.value.hex()}")
