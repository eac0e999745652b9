"""One suite for every Engine: DBOS on SQLite, each life of a worker in a process of its own, and the one in memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from app.domain.errors import Parked
from tests.contract.memory.engine import MemoryDatabase, MemoryEngine
from workers.liveness import FENCED

WAIT_S = 60.0


class Life(Protocol):
    """One life of one worker, running a saga of steps a, b, c; each step appends its name to the diary."""

    executor: str

    def enqueue(self, workflow_id: str, spec: dict[str, Any]) -> None: ...
    def recover(self, executor: str) -> None: ...
    def park(self) -> None: ...


class Worlds(Protocol):
    def diary(self) -> list[str]: ...
    def begin_life(self) -> Life: ...


class MemoryWorld:
    def __init__(self, folder: Path) -> None:
        self._database = MemoryDatabase()
        self._diary: list[str] = []

    def diary(self) -> list[str]:
        return list(self._diary)

    def begin_life(self) -> Life:
        return MemoryLife(self._database, self._diary)


class MemoryLife:
    def __init__(self, database: MemoryDatabase, diary: list[str]) -> None:
        self.executor = str(uuid.uuid4())
        self._stopping = threading.Event()
        self._engine = MemoryEngine(database, self.executor)

        def saga(run: Any, spec: dict[str, Any]) -> None:
            for name in spec["steps"]:
                run(name, lambda name=name: step(name, spec))

        def step(name: str, spec: dict[str, Any]) -> str:
            if name == spec.get("blocks") and self.executor == spec["first"]:
                diary.append(f"{name}?")
                while not self._stopping.wait(0.02):
                    pass
                raise Parked
            diary.append(name)
            return name

        self._engine.start(saga)

    def enqueue(self, workflow_id: str, spec: dict[str, Any]) -> None:
        self._engine.enqueue(None, workflow_id, spec | {"first": self.executor})

    def recover(self, executor: str) -> None:
        self._engine.recover(executor)

    def park(self) -> None:
        self._stopping.set()
        self._engine.stop(5)


class DbosWorld:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lives: list[DbosLife] = []

    def diary(self) -> list[str]:
        path = self._folder / "diary"
        return path.read_text().split() if path.exists() else []

    def begin_life(self) -> Life:
        self._lives.append(DbosLife(self._folder))
        return self._lives[-1]

    def close(self) -> None:
        for life in self._lives:
            life.kill()


class DbosLife:
    def __init__(self, folder: Path) -> None:
        self.executor = str(uuid.uuid4())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.engine_life", str(folder), self.executor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def _say(self, *words: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ok\n"

    def enqueue(self, workflow_id: str, spec: dict[str, Any]) -> None:
        self._say("enqueue", workflow_id, spec | {"first": self.executor})

    def recover(self, executor: str) -> None:
        self._say("recover", executor)

    def park(self) -> None:
        self._say("park")
        assert self._process.wait(30) == 0

    def ended(self) -> int:
        """Its exit status, when it ends by itself."""
        return self._process.wait(30)

    def kill(self) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(30)


@pytest.fixture(params=["memory", "dbos"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worlds]:
    if request.param == "memory":
        yield MemoryWorld(tmp_path)
    else:
        dbos = DbosWorld(tmp_path)
        yield dbos
        dbos.close()


def wait_for(world: Worlds, expected: list[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while world.diary() != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert world.diary() == expected


def test_steps_run_in_order_and_the_same_id_twice_is_once(world: Worlds) -> None:
    life = world.begin_life()
    life.enqueue("job.1", {"steps": ["a", "b", "c"]})
    life.enqueue("job.1", {"steps": ["a", "b", "c"]})
    wait_for(world, ["a", "b", "c"])
    life.enqueue("job.2", {"steps": ["d"]})
    wait_for(world, ["a", "b", "c", "d"])


def test_a_parked_run_goes_on_in_another_life_at_the_step_it_was_in(world: Worlds) -> None:
    first = world.begin_life()
    first.enqueue("job.1", {"steps": ["a", "b", "c"], "blocks": "b"})
    wait_for(world, ["a", "b?"])
    first.park()
    second = world.begin_life()
    second.recover(first.executor)
    wait_for(world, ["a", "b?", "b", "c"])
    second.recover(first.executor)
    time.sleep(1)
    assert world.diary() == ["a", "b?", "b", "c"]


def test_runs_that_only_wait_keep_no_other_from_running(world: Worlds) -> None:
    """A paused job waits within its step, and any number of jobs may be paused."""
    life = world.begin_life()
    for number in range(24):
        life.enqueue(f"job.{number}", {"steps": ["a"], "blocks": "a"})
    wait_for(world, ["a?"] * 24)
    life.enqueue("job.last", {"steps": ["z"]})
    wait_for(world, [*["a?"] * 24, "z"])
    life.park()


@pytest.mark.parametrize("blocks", ["a", "b", "c"])
def test_a_killed_process_loses_no_finished_step(tmp_path: Path, blocks: str) -> None:
    world = DbosWorld(tmp_path)
    steps = ["a", "b", "c"]
    done = steps[: steps.index(blocks)]
    try:
        first = world.begin_life()
        first.enqueue("job.1", {"steps": steps, "blocks": blocks})
        wait_for(world, [*done, f"{blocks}?"])
        assert isinstance(first, DbosLife)
        first.kill()
        second = world.begin_life()
        second.recover(first.executor)
        wait_for(world, [*done, f"{blocks}?", *steps[len(done) :]])
    finally:
        world.close()


def test_a_run_that_breaks_off_ends_its_worker_and_is_not_forgotten(tmp_path: Path) -> None:
    world = DbosWorld(tmp_path)
    try:
        first = DbosLife(tmp_path)
        first.enqueue("job.1", {"steps": ["a", "b", "c"], "breaks": "b"})
        assert first.ended() == FENCED
        second = world.begin_life()
        second.recover(first.executor)
        wait_for(world, ["a", "b!", "b", "c"])
    finally:
        world.close()
