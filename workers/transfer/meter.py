"""Progress of a job's disks: counted at every write, told at most once a second."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from app.domain.models import Disk, DiskProgress
from app.ports.clock import Clock
from workers.transfer.copy import CopyProgress

TELL_EVERY_S = 1.0
WINDOW_S = 20.0  # the rate is that of the last seconds

Tell = Callable[[Sequence[DiskProgress], float | None, float | None], None]


class Meter:
    """`tell(disks, rate, eta)`: rate in guest bytes a second (written and skipped), eta in seconds."""

    def __init__(self, clock: Clock, disks: Sequence[Disk], tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._disks = {
            disk.key: DiskProgress(key=disk.key, label=disk.label, capacity_bytes=disk.capacity_bytes) for disk in disks
        }
        self._started = clock.monotonic()
        self._told = 0.0
        self._window: deque[tuple[float, int]] = deque([(self._started, 0)])

    def resume(self, key: int, known: Sequence[DiskProgress]) -> None:
        """Take over the figures of a disk that an earlier attempt has finished."""
        for disk in known:
            if disk.key == key:
                self._disks[key] = disk
        self._window = deque([(self._started, self._passed())])

    def update(self, key: int, seen: CopyProgress) -> None:
        with self._lock:
            self._disks[key] = self._disks[key].model_copy(
                update={
                    "bytes_done": seen.bytes_done,
                    "bytes_skipped": seen.bytes_skipped,
                    "wire_bytes": seen.wire_bytes,
                }
            )
            now = self._clock.monotonic()
            total = sum(disk.capacity_bytes for disk in self._disks.values())
            finished = self._passed() >= total
            if now - self._told < TELL_EVERY_S and not finished:
                return
            self._told = now
            self._window.append((now, self._passed()))
            while len(self._window) > 2 and now - self._window[0][0] > WINDOW_S:
                self._window.popleft()
            (then, before), passed = self._window[0], self._passed()
            rate = (passed - before) / (now - then) if now > then else None
            eta = (total - passed) / rate if rate else None
            self._tell(list(self._disks.values()), rate, eta)

    def percent(self) -> int:
        total = sum(disk.capacity_bytes for disk in self._disks.values())
        return min(100, self._passed() * 100 // total) if total else 100

    def summary(self) -> str:
        done = sum(disk.bytes_done for disk in self._disks.values())
        skipped = sum(disk.bytes_skipped for disk in self._disks.values())
        wire = sum(disk.wire_bytes for disk in self._disks.values())
        seconds = self._clock.monotonic() - self._started
        return f"{done >> 20} MiB moved, {skipped >> 20} MiB skipped, {wire >> 20} MiB on the wire, {seconds:.1f} s"

    def _passed(self) -> int:
        return sum(disk.bytes_done + disk.bytes_skipped for disk in self._disks.values())
