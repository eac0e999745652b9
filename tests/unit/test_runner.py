"""How the runner treats a step's outcome: retries, pause, cancel, parking, fencing, leftovers. Steps are made up."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.errors import CompensationFailed, NoSpace, Parked, SourceUnavailable
from app.domain.job import Job
from app.domain.lifecycle import pending_steps
from app.domain.limits import ScopedLimit
from app.domain.models import Leftover, TargetSpec
from app.domain.move import MoveOptions
from app.domain.states import JobState
from tests.contract.memory.store import MemoryStore
from workers import runner
from workers.main import SystemClock
from workers.room import Room
from workers.runner import RetryPolicy, Runner
from workers.steps.context import Adapters, StepContext

ME = "executor-1"
GIB = 1 << 30
LEFT = Leftover(what="a volume", cause="the pool is gone", command="virsh vol-delete x")


class Scripted:
    """A step that does what the test says, and takes notes."""

    def __init__(self) -> None:
        self.act: Callable[[StepContext], str] = lambda ctx: "done"
        self.unact: Callable[[StepContext], None] = lambda ctx: None
        self.attempts: list[int] = []

    def do(self, ctx: StepContext) -> str:
        self.attempts.append(ctx.attempt)
        return self.act(ctx)

    def undo(self, ctx: StepContext) -> None:
        self.attempts.append(-1)
        self.unact(ctx)

    def leftovers(self, ctx: StepContext, cause: str) -> Sequence[Leftover]:
        return [LEFT.model_copy(update={"cause": cause})]


class Bench:
    def __init__(self, home: Path) -> None:
        self.store = MemoryStore()
        job = Job(
            id="j1", vm_id="vm-1", vm_name="a", source_id="s", source_name="lab", target_id="t", target_name="kvm",
            options=MoveOptions(), created_at=datetime.now(UTC),
        )  # fmt: skip
        self.store.submit(job.model_copy(update={"steps": pending_steps(job)}))
        self.store.transition("j1", JobState.RUNNING)
        self.step = Scripted()
        self.store.targets["t"] = TargetSpec(id="t", name="kvm", pool="fast")
        self.stopping = threading.Event()
        self.home = home
        self.room: Room | None = Room(size=100 * GIB, free=0)
        self.looked: list[Path] = []
        self.runner = self.life(ME, self.stopping)

    def life(self, executor: str, stopping: threading.Event) -> Runner:
        """A worker's runner over the same store."""
        adapters = Adapters(
            open_source=_never, open_target=_never, converters={}, clock=SystemClock(), home=self.home,  # type: ignore[arg-type]
            room=self._room, space_poll_s=0.0,
        )  # fmt: skip
        return Runner(
            self.store, adapters, {"transfer": self.step}, executor=executor, stopping=stopping,
            retry=RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02),
        )  # fmt: skip

    def _room(self, folder: Path) -> Room | None:
        self.looked.append(folder)
        return self.room

    def admit(self) -> None:
        self.store.admit(9, lambda _transaction, _job: None)

    def until(self, state: JobState) -> Job:
        deadline = time.monotonic() + 20
        while (job := self.store.job("j1")).state is not state:
            assert time.monotonic() < deadline, job.state
            time.sleep(0.005)
        return job

    def step_state(self) -> str:
        return next(step.state for step in self.store.job("j1").steps if step.name == "transfer")


def _never(*_: object) -> None:
    raise AssertionError("not asked for")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(runner, "ASK_EVERY_S", 0.005)
    return Bench(tmp_path)


class Doing(threading.Thread):
    """`do` of the step in a thread of its own, as in an engine; `outcome` is its answer, or how it was parked."""

    def __init__(self, made: Runner) -> None:
        super().__init__(daemon=True)
        self.made = made
        self.outcome: dict[str, object] | Parked | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self.made.do("j1", "transfer")
        except Parked as error:
            self.outcome = error

    def ended(self) -> dict[str, object] | Parked | None:
        self.join(20)
        return self.outcome


def working_until_asked(ctx: StepContext) -> str:
    """What a long step does at its first attempt; the next ones end at once."""
    while ctx.attempt == 1:
        ctx.cancel()
        time.sleep(0.005)
    return "done"


def failing(error: BaseException, times: int) -> Callable[[StepContext], str]:
    left = iter(range(times))

    def act(ctx: StepContext) -> str:
        if next(left, None) is not None:
            raise error
        return "done"

    return act


def test_a_transient_error_is_tried_again(bench: Bench) -> None:
    bench.step.act = failing(SourceUnavailable("no answer"), 2)
    assert bench.runner.do("j1", "transfer") == {}
    assert bench.step.attempts == [1, 2, 3]
    assert bench.step_state() == "succeeded"
    assert [event.kind for event in bench.store.events].count("job.retry") == 2


def test_a_transient_error_that_stays_fails(bench: Bench) -> None:
    bench.step.act = failing(SourceUnavailable("no answer"), 99)
    outcome = bench.runner.do("j1", "transfer")
    assert outcome["error"]["code"] == "source_unavailable"
    assert outcome["error"]["retryable"] is True
    assert bench.step.attempts == [1, 2, 3]
    assert bench.step_state() == "failed"


def test_a_paused_step_rests_and_is_done_again_when_the_job_is_resumed(bench: Bench) -> None:
    bench.step.act = working_until_asked
    doing = Doing(bench.runner)
    bench.store.pause("j1")
    bench.until(JobState.PAUSED)
    assert bench.step_state() == "paused"
    bench.store.resume("j1")
    time.sleep(0.1)
    assert bench.step.attempts == [1]  # it waits for a slot
    bench.admit()
    assert doing.ended() == {}
    assert bench.step.attempts == [1, 2]
    assert bench.step_state() == "succeeded"


def test_a_pause_between_steps_is_seen_before_the_next_begins(bench: Bench) -> None:
    bench.store.pause("j1")
    doing = Doing(bench.runner)
    bench.until(JobState.PAUSED)
    assert (bench.step.attempts, bench.step_state()) == ([], "pending")
    bench.store.resume("j1")
    bench.admit()
    assert doing.ended() == {}
    assert bench.step.attempts == [1]


def test_a_pause_costs_none_of_the_retries(bench: Bench) -> None:
    def act(ctx: StepContext) -> str:
        if ctx.attempt in (1, 2, 4, 5):  # the policy allows two failures in a row
            raise SourceUnavailable("no answer")
        while ctx.attempt == 3:
            ctx.cancel()
            time.sleep(0.005)
        return "done"

    bench.step.act = act
    doing = Doing(bench.runner)
    while 3 not in bench.step.attempts:
        time.sleep(0.005)
    bench.store.pause("j1")
    bench.until(JobState.PAUSED)
    bench.store.resume("j1")
    bench.admit()
    assert doing.ended() == {}
    assert bench.step.attempts == [1, 2, 3, 4, 5, 6]


def test_a_paused_job_is_cancelled_without_running_again(bench: Bench) -> None:
    bench.step.act = working_until_asked
    doing = Doing(bench.runner)
    bench.store.pause("j1")
    bench.until(JobState.PAUSED)
    bench.store.cancel("j1")
    outcome = doing.ended()
    assert isinstance(outcome, dict)
    assert outcome["cancelled"] is True
    assert bench.step.attempts == [1]
    bench.runner.begin_undo("j1")


def test_a_paused_job_outlives_its_worker(bench: Bench) -> None:
    bench.step.act = working_until_asked
    first = Doing(bench.runner)
    bench.store.pause("j1")
    bench.until(JobState.PAUSED)
    bench.stopping.set()
    assert isinstance(first.ended(), Parked)
    second = Doing(bench.life("executor-2", threading.Event()))
    time.sleep(0.1)
    assert second.is_alive()
    assert bench.store.job("j1").state is JobState.PAUSED
    bench.store.resume("j1")
    bench.admit()
    assert second.ended() == {}
    assert bench.step.attempts == [1, 2]


def test_a_worker_that_was_taken_over_while_its_job_was_paused_lets_it_go(bench: Bench) -> None:
    bench.step.act = working_until_asked
    first = Doing(bench.runner)
    bench.store.pause("j1")
    bench.until(JobState.PAUSED)
    bench.store.record("j1", data={"executor": "executor-2"})
    bench.store.resume("j1")
    bench.admit()
    assert isinstance(first.ended(), Parked)
    assert bench.step.attempts == [1]


def full_at_first(error: Exception) -> Callable[[StepContext], str]:
    def act(ctx: StepContext) -> str:
        if ctx.attempt == 1:
            raise error
        return "done"

    return act


def test_a_full_pool_is_waited_for(bench: Bench) -> None:
    bench.step.act = full_at_first(NoSpace("full", path="/pool/vmferry-j1-0.qcow2"))
    doing = Doing(bench.runner)
    job = bench.until(JobState.PAUSED)
    assert job.pause is not None
    assert (job.pause.by, job.pause.path, job.pause.resume_at_bytes) == ("space", "/pool", GIB)
    assert job.pause.detail.startswith("pool fast (/pool)")
    step = next(step for step in job.steps if step.name == "transfer")
    assert (step.state, (step.error or {})["code"]) == ("paused", "no_space")
    bench.room = Room(size=100 * GIB, free=GIB - 1)
    time.sleep(0.1)
    bench.admit()
    assert bench.store.job("j1").state is JobState.PAUSED
    bench.room = Room(size=100 * GIB, free=GIB)
    bench.until(JobState.QUEUED)
    bench.admit()
    assert doing.ended() == {}
    assert set(bench.looked) == {Path("/pool")}


def test_a_full_pool_that_the_job_asks_for_is_named(bench: Bench) -> None:
    asked = bench.store.job("j1").model_copy(update={"options": MoveOptions(pool="ssd")})
    bench.store.jobs["j1"] = asked
    bench.step.act = full_at_first(NoSpace("full", path="/ssd/vmferry-j1-0.qcow2"))
    doing = Doing(bench.runner)
    job = bench.until(JobState.PAUSED)
    assert job.pause is not None
    assert job.pause.detail.startswith("pool ssd (/ssd)")
    bench.store.resume("j1")
    bench.admit()
    assert doing.ended() == {}


def test_a_full_home_is_waited_for_too(bench: Bench) -> None:
    bench.step.act = full_at_first(OSError(errno.ENOSPC, "No space left on device"))
    doing = Doing(bench.runner)
    job = bench.until(JobState.PAUSED)
    assert job.pause is not None
    assert job.pause.detail.startswith(str(bench.home))
    bench.store.resume("j1")  # the user need not wait for us to see room
    bench.admit()
    assert doing.ended() == {}


def test_a_pool_that_is_gone_is_waited_for_until_the_user_says_so(bench: Bench) -> None:
    bench.room = None
    bench.step.act = full_at_first(NoSpace("full", path="/pool/x"))
    doing = Doing(bench.runner)
    job = bench.until(JobState.PAUSED)
    assert job.pause is not None
    assert job.pause.resume_at_bytes is None
    bench.room = Room(size=GIB, free=GIB)
    time.sleep(0.1)
    assert bench.store.job("j1").state is JobState.PAUSED
    bench.store.cancel("j1")
    outcome = doing.ended()
    assert isinstance(outcome, dict)
    assert outcome["cancelled"] is True


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoSpace("the guest is full"), "no_space"),
        (OSError(5, "I/O"), "internal"),
        (ZeroDivisionError("oops"), "internal"),
    ],
)
def test_what_is_not_transient_is_not_tried_again(bench: Bench, error: Exception, code: str) -> None:
    bench.step.act = failing(error, 1)
    assert bench.runner.do("j1", "transfer")["error"]["code"] == code
    assert bench.step.attempts == [1]


def test_a_cancel_is_seen_before_the_step_begins_and_between_attempts(bench: Bench) -> None:
    bench.store.cancel("j1")
    outcome = bench.runner.do("j1", "transfer")
    assert outcome["cancelled"] is True
    assert outcome["error"]["code"] == "cancelled"
    assert bench.step.attempts == []


def test_a_stopping_worker_parks_and_records_no_failure(bench: Bench) -> None:
    def act(ctx: StepContext) -> str:
        bench.stopping.set()
        ctx.cancel()
        return "not reached"

    bench.step.act = act
    with pytest.raises(Parked):
        bench.runner.do("j1", "transfer")
    assert bench.step_state() == "running"
    bench.step.unact = lambda ctx: ctx.cancel()
    with pytest.raises(Parked):
        bench.runner.undo("j1", "transfer")


def test_a_job_that_another_worker_has_taken_over_is_let_go(bench: Bench) -> None:
    def act(ctx: StepContext) -> str:
        bench.store.record("j1", data={"executor": "executor-2"})
        ctx.fence()
        return "not reached"

    bench.step.act = act
    with pytest.raises(Parked):
        bench.runner.do("j1", "transfer")


def test_an_undo_keeps_what_the_step_said(bench: Bench) -> None:
    bench.runner.do("j1", "transfer")
    before = bench.store.job("j1").steps[2]
    assert bench.runner.undo("j1", "transfer") == []
    after = bench.store.job("j1").steps[2]
    assert (before.state, after.state) == ("succeeded", "undone")
    assert (after.ended_at, after.detail) == (before.ended_at, "done")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (CompensationFailed([LEFT]), LEFT.cause),
        (SourceUnavailable("no answer"), "no answer"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_what_could_not_be_undone_is_told_with_its_command(bench: Bench, error: Exception, cause: str) -> None:
    def unact(ctx: StepContext) -> None:
        raise error

    bench.step.unact = unact
    left = bench.runner.undo("j1", "transfer")
    assert left == [LEFT.model_copy(update={"cause": cause}).to_dict()]
    bench.runner.begin_undo("j1")
    bench.runner.end("j1", {"error": {"code": "x"}}, left)
    job = bench.store.job("j1")
    assert job.state is JobState.ROLLBACK_FAILED
    assert job.leftovers[0].command == LEFT.command


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ({"error": {"code": "x"}}, JobState.FAILED),
        ({"error": {"code": "cancelled"}, "cancelled": True}, JobState.CANCELLED),
        ({}, JobState.ROLLED_BACK),
    ],
)
def test_the_end_is_named_by_what_led_to_it(bench: Bench, outcome: dict[str, object], state: JobState) -> None:
    bench.runner.begin_undo("j1")
    bench.runner.end("j1", outcome, [])
    assert bench.store.job("j1").state is state


def test_a_step_that_throttles_follows_its_limits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.transfer.throttle.LOOK_EVERY_S", 0.0)
    seen: list[int | None] = []

    def act(ctx: StepContext) -> str:
        for rate in (1000, 2000):
            bench.store.set(ScopedLimit(scope="source", subject="s", bytes_per_second=rate))
            ctx.cancel()
            seen.append(ctx.throttle.rates["source"])
        return "done"

    bench.step.act = act
    assert bench.runner.do("j1", "transfer") == {}
    assert seen == [1000, 2000]
