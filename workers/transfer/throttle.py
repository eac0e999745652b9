"""Limits on bytes per second, shared by all threads and jobs of this process: token buckets in a hierarchy.

A job's bytes pass its own bucket, then its source's, then the service's. Before each of them waits a line in order of
arrival, and each job has one place in that of its source, each source one in that of the service: who has more threads
gets no more. Bytes pass in small pieces, so that lines move on evenly and a new rate acts at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from weakref import WeakValueDictionary

from app.domain.limits import Scope, ScopedLimit, rate_at
from app.ports.clock import Clock
from app.ports.source import CancelCheck

BURST_S = 0.1  # what may pass at once is so much of the rate, and as much again that was not used before
PIECE = 256 << 10  # bytes that pass at once at most
ASK_S = 0.25  # a sleeper calls `cancel` at least so often
LOOK_EVERY_S = 1.0


class Bucket:
    """The arithmetic of one limit; `now` is any clock's seconds. A rate of None lets everything pass.

    It fills at `rate`, to BURST_S of it. Whoever finds it not in debt may spend what he wants, and leave a debt.
    """

    def __init__(self, rate: int | None, now: float) -> None:
        self.rate = rate
        self._level = 0.0
        self._at = now

    def set_rate(self, rate: int | None, now: float) -> None:
        """From now on. A debt made at a high rate is not to be paid off at a low one."""
        self._fill(now)
        self.rate = rate
        burst = (rate or 0) * BURST_S
        self._level = max(min(self._level, burst), -burst)

    def wait_s(self, now: float) -> float:
        """Seconds until something may pass; 0: at once."""
        self._fill(now)
        return 0.0 if self.rate is None or self._level >= 0 else -self._level / self.rate

    def spend(self, count: int, now: float) -> None:
        self._fill(now)
        if self.rate is not None:
            self._level -= count

    def _fill(self, now: float) -> None:
        if self.rate is not None:
            self._level = min(self._level + (now - self._at) * self.rate, self.rate * BURST_S)
        self._at = now


class _Gate:
    """A bucket, and the line before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(None, clock.monotonic())
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def rate(self) -> int | None:
        return self._bucket.rate

    def set_rate(self, rate: int | None) -> None:
        if rate != self._bucket.rate:
            with self._changed:
                self._bucket.set_rate(rate, self._clock.monotonic())
                self._changed.notify_all()

    @contextmanager
    def turn(self, cancel: CancelCheck) -> Iterator[None]:
        """The first place in the line, for as long as the block lasts."""
        me = object()
        with self._changed:
            self._line.append(me)
        try:
            while self._sleeps(lambda: 0 if self._line[0] is me else ASK_S):
                cancel()
            yield
        finally:
            with self._changed:
                self._line.remove(me)
                self._changed.notify_all()

    def let_pass(self, count: int, cancel: CancelCheck) -> None:
        """For whoever has the turn."""
        while self._sleeps(lambda: self._bucket.wait_s(self._clock.monotonic())):
            cancel()
        with self._changed:
            self._bucket.spend(count, self._clock.monotonic())

    def _sleeps(self, left: Callable[[], float]) -> bool:
        """Sleep for `left()` seconds, or until something has changed, ASK_S at most; False where there is no need."""
        with self._changed:
            seconds = left()
            if seconds > 0:
                self._changed.wait(min(seconds, ASK_S))
            return seconds > 0


class Throttle:
    """The way of one job's bytes. For all its threads."""

    def __init__(self, job: _Gate, source: _Gate, service: _Gate) -> None:
        self._gates: dict[Scope, _Gate] = {"job": job, "source": source, "service": service}

    def take(self, count: int, cancel: CancelCheck = lambda: None) -> None:
        """Wait until `count` bytes more may be read. `cancel` is called at every turn of the wait, in this thread."""
        while count > 0:
            rates = {scope: rate for scope, rate in self.rates.items() if rate is not None}
            if not rates:
                return
            piece = min(count, PIECE, max(1, int(min(rates.values()) * BURST_S)))
            with ExitStack() as turns:
                for scope, gate in self._gates.items():
                    turns.enter_context(gate.turn(cancel))
                    gate.let_pass(piece, cancel)
                    rates.pop(scope, None)
                    if not rates:
                        break  # no need to stand in a line where nobody is held up
            count -= piece

    @property
    def rates(self) -> dict[Scope, int | None]:
        """Bytes a second, None for without limit."""
        return {scope: gate.rate for scope, gate in self._gates.items()}

    def set_rates(self, rates: Mapping[Scope, int | None]) -> None:
        """As `rates`; what is not named is without limit. It acts on sleepers too."""
        for scope, gate in self._gates.items():
            gate.set_rate(rates.get(scope))


class Throttles:
    """Of one process: jobs of one source share its bucket, all jobs share the service's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._gates: WeakValueDictionary[tuple[Scope, str], _Gate] = WeakValueDictionary()

    def of(self, job_id: str, source_id: str) -> Throttle:
        with self._lock:
            return Throttle(self._gate("job", job_id), self._gate("source", source_id), self._gate("service", ""))

    def _gate(self, scope: Scope, subject: str) -> _Gate:
        gate = self._gates.get((scope, subject))
        if gate is None:
            gate = self._gates[scope, subject] = _Gate(self._clock)
        return gate


class LimitsWatcher:
    """Keeps a throttle at what the limits say now."""

    def __init__(self, read: Callable[[], Sequence[ScopedLimit]], throttle: Throttle, clock: Clock) -> None:
        """`read` answers the limits that concern the throttle's job."""
        self._read = read
        self._throttle = throttle
        self._clock = clock
        self._looking = threading.Lock()
        self._looked = -LOOK_EVERY_S

    def poll(self) -> None:
        """Look, at most once a second however often and from however many threads it is called."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            now = self._clock.monotonic()
            if now - self._looked >= LOOK_EVERY_S:
                self._looked = now
                moment = self._clock.now()
                self._throttle.set_rates({limit.scope: rate_at(limit, moment) for limit in self._read()})
        finally:
            self._looking.release()
