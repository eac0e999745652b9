"""Who is taken for dead, and when a worker must end itself. Time is turned by hand."""

from __future__ import annotations

import os

import pytest

from app.domain.errors import SourceUnavailable
from app.domain.job import Beat
from tests.contract.memory.store import MemoryStore
from workers import liveness
from workers.liveness import FENCED, Liveness, boot_id, process_started

LEASE = 60.0


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class World:
    def __init__(self) -> None:
        self.time = Time()
        self.store = MemoryStore()
        self.taken: list[str] = []
        self.fenced: list[int] = []
        self.me = Liveness(self.store, "me", LEASE, self.taken.append, fence=self.fenced.append)

    def peer(self, count: int, **fields: object) -> None:
        known = {"executor": "peer", "count": count, "boot_id": "another machine", "pid": 1, "pid_started": 1}
        self.store.beat(Beat.model_validate(known | fields))

    def beat_for(self, seconds: float) -> None:
        for _ in range(int(seconds / (LEASE / 10))):
            self.time.now += LEASE / 10
            self.me.beat_once()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    turned = Time()
    monkeypatch.setattr(liveness.time, "monotonic", turned.monotonic)
    made = World()
    made.time = turned
    return made


def test_a_peer_that_beats_is_let_be(world: World) -> None:
    for count in range(40):
        world.peer(count)
        world.beat_for(LEASE / 10)
    assert world.taken == []


def test_a_peer_that_stands_still_for_a_lease_is_taken_over_once(world: World) -> None:
    world.peer(7)
    world.beat_for(LEASE)
    assert world.taken == []
    world.beat_for(LEASE)
    assert world.taken == ["peer"]
    world.beat_for(2 * LEASE)
    assert world.taken == ["peer"]


def test_a_peer_that_said_goodbye_is_taken_over_at_once(world: World) -> None:
    world.peer(7, left=True)
    world.me.beat_once()
    assert world.taken == ["peer"]


def test_a_process_of_this_boot_that_is_gone_is_taken_over_at_once(world: World) -> None:
    started = process_started(os.getpid())
    world.peer(7, boot_id=boot_id(), pid=os.getpid(), pid_started=started)
    world.me.beat_once()
    assert world.taken == []
    world.peer(8, boot_id=boot_id(), pid=os.getpid(), pid_started=(started or 0) - 1)  # the number was used again
    world.me.beat_once()
    assert world.taken == ["peer"]


def test_one_that_was_frozen_for_most_of_a_lease_ends_itself(world: World) -> None:
    world.me.beat_once()
    world.time.now += 0.69 * LEASE
    world.me.beat_once()
    assert world.fenced == []
    world.time.now += 0.71 * LEASE
    world.me.beat_once()
    assert world.fenced == [FENCED]


def test_one_that_cannot_reach_the_database_ends_itself_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_mine: Beat) -> list[Beat]:
        raise SourceUnavailable("the database does not answer")

    world.me.beat_once()
    monkeypatch.setattr(world.store, "beat", away)
    world.beat_for(0.7 * LEASE)
    assert world.fenced == []
    world.beat_for(0.1 * LEASE)
    assert world.fenced == [FENCED]


def test_an_outage_of_our_own_does_not_look_like_the_death_of_others(world: World) -> None:
    world.peer(7)
    world.beat_for(0.9 * LEASE)
    world.time.now += 0.4 * LEASE  # nobody could beat
    world.me.beat_once()
    world.beat_for(0.5 * LEASE)
    assert world.taken == []
