"""What the ways that read in ranges share: after the end of the access nothing can be read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from app.domain.errors import LeaseExpired, NotFound
from app.domain.models import Transport
from app.ports.disks import RangeDisk


class _Stoppable(Protocol):
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


D = TypeVar("D", bound=RangeDisk)
R = TypeVar("R", bound=_Stoppable)


class RangeAccess(Generic[D, R]):
    """DiskAccess. `disks` is filled by whoever opens it."""

    def __init__(self, transport: Transport, connections: int) -> None:
        self.transport = transport
        self.connections = connections
        self.disks: dict[int, D] = {}
        self._readers: set[R] = set()
        self._over = ""
        self._lock = threading.Lock()

    @property
    def disk_keys(self) -> Sequence[int]:
        return list(self.disks)

    def disk(self, key: int) -> D:
        if key not in self.disks:
            raise NotFound(f"the VM has no disk {key}", "List the VM's disks again.")
        return self.disks[key]

    def report_percent(self, percent: int) -> None:
        """vSphere does not ask."""

    def keep(self, reader: R) -> R:
        """A reader that ends with the access; unless it is forgotten before."""
        with self._lock:
            self.alive()
            self._readers.add(reader)
        return reader

    def forget(self, reader: R) -> None:
        with self._lock:
            self._readers.discard(reader)

    def alive(self) -> None:
        """Raises LeaseExpired once the access has ended."""
        if self._over:
            raise LeaseExpired(self._over, "The disks are read again.")

    def end(self) -> None:
        """Nothing can be read from now on; reads under way in other threads wake up."""
        with self._lock:
            self._over = "the access to the disks has ended"
            readers = list(self._readers)
        for reader in readers:
            reader.interrupt()
        for reader in readers:
            reader.close()
