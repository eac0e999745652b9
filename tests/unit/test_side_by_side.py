"""Copies run at the same time, none more than may, and the first failure stops the others."""

from __future__ import annotations

import threading
import time

import pytest

from app.domain.errors import Cancelled, NoSpace, Parked
from app.ports.source import CancelCheck
from workers.transfer.side_by_side import side_by_side
from workers.transfer.slots import HostSlots


def go_on() -> None: ...


def test_all_run_and_no_more_than_may_at_a_time() -> None:
    lock = threading.Lock()
    running, most, done = 0, 0, 0

    def task(check: CancelCheck) -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
            done += 1

    side_by_side([task] * 9, at_once=3, cancel=go_on)
    assert (done, most) == (9, 3)


def test_the_first_error_stops_the_others_and_is_raised() -> None:
    ended = []
    patience = threading.Event()

    def patient(check: CancelCheck) -> None:
        patience.set()
        try:
            while True:
                check()
                time.sleep(0.005)
        finally:
            ended.append(1)

    def fails(check: CancelCheck) -> None:
        assert patience.wait(10)
        raise NoSpace("full")

    begun = []
    with pytest.raises(NoSpace, match="full"):
        side_by_side([patient, fails, begun.append], at_once=2, cancel=go_on)  # type: ignore[list-item]
    assert ended == [1]
    assert begun == []


@pytest.mark.parametrize("error", [Cancelled("stop"), Parked()], ids=repr)
def test_a_stop_reaches_all(error: BaseException) -> None:
    asked = 0

    def cancel() -> None:
        nonlocal asked
        asked += 1
        if asked > 10:
            raise error

    def task(check: CancelCheck) -> None:
        while True:
            check()
            time.sleep(0.001)

    with pytest.raises(type(error)):
        side_by_side([task, task], at_once=2, cancel=cancel)


def test_a_host_serves_so_many_and_no_more() -> None:
    slots = HostSlots(5)
    with slots.hold("a", 4, go_on) as first, slots.hold("a", 4, go_on) as second, slots.hold("b", 4, go_on) as other:
        assert (first, second, other) == (4, 1, 4)

        def cancel() -> None:
            raise Cancelled("stop")

        with pytest.raises(Cancelled), slots.hold("a", 1, cancel):
            pass
    with slots.hold("a", 9, go_on) as all_of_them:
        assert all_of_them == 5


def test_who_waits_gets_what_others_leave() -> None:
    slots = HostSlots(1)
    order: list[str] = []
    inside = threading.Event()

    def later() -> None:
        inside.set()
        with slots.hold("a", 1, go_on):
            order.append("later")

    with slots.hold("a", 1, go_on):
        thread = threading.Thread(target=later)
        thread.start()
        assert inside.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "later"]
