"""The throttle under real threads and a real clock. Times are only bounded from below: a busy machine is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from app.domain.errors import Cancelled
from workers.main import SystemClock
from workers.transfer.throttle import BURST_S, PIECE, Throttle, Throttles

MB = 10**6
ENDS_S = 60.0  # what must end at once does so well before, on any machine


def in_threads(throttle: Throttle, count: int, bytes_each: int) -> float:
    """Seconds that so many threads took together, each reading in pieces of 1 MB."""

    def read() -> None:
        for _ in range(bytes_each // MB):
            throttle.take(MB)

    threads = [threading.Thread(target=read) for _ in range(count)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


@pytest.mark.parametrize("scope", ["job", "source", "service"])
def test_three_threads_take_the_time_they_must(scope: str) -> None:
    throttle = Throttles(SystemClock()).of("j", "s")
    throttle.set_rates({scope: 20 * MB})  # type: ignore[dict-item]
    seconds = in_threads(throttle, 3, 10 * MB)
    assert seconds / ((30 * MB - PIECE) / (20 * MB) - BURST_S) >= 1


def test_the_lowest_limit_on_the_way_decides() -> None:
    throttle = Throttles(SystemClock()).of("j", "s")
    throttle.set_rates({"job": 400 * MB, "source": 100 * MB, "service": 20 * MB})
    assert in_threads(throttle, 2, 10 * MB) / ((20 * MB - PIECE) / (20 * MB) - BURST_S) >= 1


class Reader(threading.Thread):
    """Takes for ever, until told to stop."""

    def __init__(self, throttle: Throttle, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.throttle, self.stop, self.count = throttle, stop, 0
        self.start()

    def run(self) -> None:
        with suppress(Cancelled):
            while True:
                self.throttle.take(100_000, self._check)
                self.count += 100_000

    def _check(self) -> None:
        if self.stop.is_set():
            raise Cancelled("stop")


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_job_with_more_threads_gets_no_more(stop: threading.Event) -> None:
    throttles = Throttles(SystemClock())
    many, one = throttles.of("many", "s"), throttles.of("one", "s")
    many.set_rates({"source": 10 * MB})
    readers = [Reader(many, stop) for _ in range(6)]
    single = Reader(one, stop)
    time.sleep(3)
    share = single.count / (single.count + sum(reader.count for reader in readers))
    assert 0.35 < share < 0.65


def test_a_new_rate_acts_on_sleepers() -> None:
    throttle = Throttles(SystemClock()).of("j", "s")
    throttle.set_rates({"service": 1000})
    sleeper = threading.Thread(target=throttle.take, args=(MB,), daemon=True)  # 1000 s
    sleeper.start()
    time.sleep(0.5)
    assert sleeper.is_alive()
    throttle.set_rates({})
    sleeper.join(ENDS_S)
    assert not sleeper.is_alive()


def test_a_cancel_wakes_a_sleeper_and_lets_the_next_one_in() -> None:
    throttle = Throttles(SystemClock()).of("j", "s")
    throttle.set_rates({"service": 1000})
    stopped = threading.Event()
    seen: list[Exception] = []

    def cancel() -> None:
        if stopped.is_set():
            raise Cancelled("stop")

    def read() -> None:
        try:
            throttle.take(MB, cancel)
        except Cancelled as error:
            seen.append(error)

    sleepers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for sleeper in sleepers:
        sleeper.start()
    stopped.set()
    for sleeper in sleepers:
        sleeper.join(ENDS_S)
    assert len(seen) == 3
    throttle.take(100)
