"""How the runner treats a step's outcome: retries, cancel, parking, fencing, leftovers. Steps are made up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.errors import CompensationFailed, NoSpace, Parked, SourceUnavailable
from app.domain.job import Job
from app.domain.lifecycle import pending_steps
from app.domain.models import Leftover, MoveOptions
from app.domain.states import JobState
from tests.contract.memory.store import MemoryStore
from workers.main import SystemClock
from workers.runner import RetryPolicy, Runner
from workers.steps.context import Adapters, StepContext

ME = "executor-1"
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
        self.stopping = threading.Event()
        adapters = Adapters(
            open_source=_never, open_target=_never, converter=_never, clock=SystemClock(), home=home  # type: ignore[arg-type]
        )  # fmt: skip
        self.runner = Runner(
            self.store, adapters, {"transfer": self.step}, executor=ME, stopping=self.stopping,
            retry=RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02),
        )  # fmt: skip

    def step_state(self) -> str:
        return next(step.state for step in self.store.job("j1").steps if step.name == "transfer")


def _never(*_: object) -> None:
    raise AssertionError("not asked for")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


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


@pytest.mark.parametrize(("error", "code"), [(NoSpace("full"), "no_space"), (ZeroDivisionError("oops"), "internal")])
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
