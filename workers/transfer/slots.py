"""How many connections one host serves at a time, over all jobs of this worker."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from app.ports.source import CancelCheck

ASK_EVERY_S = 0.5


class HostSlots:
    """`limit` connections for each host: an ESXi host has about 50 MB of buffers for all who read its disks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, host: str, wanted: int, cancel: CancelCheck) -> Iterator[int]:
        """Up to `wanted` connections, at least one: waits until one is free, and `cancel` ends the wait by raising."""
        with self._changed:
            while (free := self._limit - self._taken[host]) < 1:
                cancel()
                self._changed.wait(ASK_EVERY_S)
            granted = min(wanted, free)
            self._taken[host] += granted
        try:
            yield granted
        finally:
            with self._changed:
                self._taken[host] -= granted
                self._changed.notify_all()
