"""Noticing dead workers, and being noticed: a heartbeat row per process, judged only by whether it moves.

Clocks are never compared between machines: a peer is dead when its count has stood still for a lease as *we* measure
it. On the same boot of the same machine there is no need to wait: a process that is gone is gone. A worker that cannot
reach the database, or was frozen, for most of a lease ends itself before others judge it; its supervisor starts a new
one. (Why the gap rule: docs/adr/0002-durable-engine.md.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from app.domain.errors import TransientError
from app.domain.job import Beat
from app.ports.store import WorkerStore

FENCED = 70  # exit status of a worker that ended itself


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_started(pid: int) -> int | None:
    """Clock ticks from boot to the start of `pid`, None when there is no such process (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def gone_for_certain(peer: Beat, here: str) -> bool:
    """It said goodbye, or it ran on this boot of this machine and its process does not exist any more."""
    return peer.left or (peer.boot_id == here and process_started(peer.pid) != peer.pid_started)


class Liveness(threading.Thread):
    """Beats ten times a lease; `take_over(executor)` is called once for each peer that is dead."""

    def __init__(
        self,
        store: WorkerStore,
        executor: str,
        lease_s: float,
        take_over: Callable[[str], None],
        *,
        fence: Callable[[int], None] = os._exit,
    ) -> None:
        super().__init__(name="liveness", daemon=True)
        self._store = store
        self._lease = lease_s
        self._take_over = take_over
        self._fence = fence
        self._stop_event = threading.Event()
        self._log = structlog.get_logger("liveness")
        pid = os.getpid()
        self._me = Beat(executor=executor, count=0, boot_id=boot_id(), pid=pid, pid_started=process_started(pid) or 0)
        self._seen: dict[str, tuple[int, float]] = {}
        self._good = time.monotonic()

    def run(self) -> None:
        while not self._stop_event.wait(self._lease / 10):
            self.beat_once()

    def beat_once(self) -> None:
        self._me = self._me.model_copy(update={"count": self._me.count + 1})
        try:
            peers = self._store.beat(self._me)
        except TransientError as error:
            self._log.warning("no heartbeat", cause=error.message)
            if time.monotonic() - self._good > 0.7 * self._lease:
                self._fence(FENCED)
            return
        now = time.monotonic()
        gap, self._good = now - self._good, now
        if gap > 0.7 * self._lease:
            self._log.error("frozen for most of a lease: ending, so that whoever took over is alone", gap_s=gap)
            self._fence(FENCED)
        if gap > 0.3 * self._lease:
            self._seen.clear()  # an outage of our own database must not look like everybody's death
        for peer in peers:
            if peer.executor != self._me.executor and self._is_dead(peer, now):
                self._log.warning("taking over from a dead worker", executor=peer.executor, pid=peer.pid)
                self._take_over(peer.executor)
                self._store.forget(peer.executor)
                self._seen.pop(peer.executor, None)

    def _is_dead(self, peer: Beat, now: float) -> bool:
        if gone_for_certain(peer, self._me.boot_id):
            return True
        count, since = self._seen.get(peer.executor, (None, now))
        if count != peer.count:
            self._seen[peer.executor] = (peer.count, now)
            return False
        return now - since > self._lease

    def leave(self) -> None:
        """Say goodbye, so that unfinished jobs are taken up at once."""
        self._stop_event.set()
        self._store.beat(self._me.model_copy(update={"count": self._me.count + 1, "left": True}))
