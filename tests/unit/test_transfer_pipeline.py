"""Results come in order, memory is bounded, and whatever raises, no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from app.domain.errors import Cancelled, NoSpace, Parked
from workers.transfer.pipeline import AHEAD, in_order


def nothing() -> None: ...


def no_threads_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("transfer")]


def test_results_are_in_order() -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.02 if n % 3 == 0 else 0)
        return n * n

    found = list(in_order(slow_first, range(50), workers=3, cancel=nothing, abort=nothing))
    assert found == [n * n for n in range(50)]
    assert no_threads_left()


def test_reading_does_not_run_away_from_work() -> None:
    handed_out, done = 0, 0
    most = 0

    def batches() -> Iterator[int]:
        nonlocal handed_out, most
        for n in range(60):
            handed_out += 1
            most = max(most, handed_out - done)
            yield n

    def work(n: int) -> None:
        nonlocal done
        time.sleep(0.002)
        done += 1

    list(in_order(work, batches(), workers=2, cancel=nothing, abort=nothing))
    assert most <= 2 * AHEAD + 2


def test_an_error_in_a_thread() -> None:
    aborted = threading.Event()

    def work(n: int) -> None:
        if n == 3:
            raise NoSpace("full")
        assert n < 3 or aborted.wait(10)  # like a write that hangs until the server is killed

    with pytest.raises(NoSpace):
        list(in_order(work, range(30), workers=2, cancel=nothing, abort=aborted.set))
    assert aborted.is_set()
    assert no_threads_left()


def test_an_error_of_the_source() -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(in_order(lambda n: n, batches(), workers=2, cancel=nothing, abort=nothing))
    assert no_threads_left()


@pytest.mark.parametrize("reason", [Cancelled("stop"), Parked()])
def test_cancel_while_work_hangs(reason: BaseException) -> None:
    aborted = threading.Event()
    asked = 0

    def cancel() -> None:
        nonlocal asked
        asked += 1
        if asked > 4:
            raise reason

    with pytest.raises(type(reason)):
        list(in_order(lambda n: aborted.wait(30), range(3), workers=2, cancel=cancel, abort=aborted.set))
    assert no_threads_left()


def test_an_error_in_the_callers_loop() -> None:
    aborted = threading.Event()

    def use() -> None:
        results = in_order(lambda n: n == 0 or aborted.wait(30), range(9), workers=2, cancel=nothing, abort=aborted.set)
        with closing(results):
            for _ in results:
                raise KeyError

    with pytest.raises(KeyError):
        use()
    assert no_threads_left()
