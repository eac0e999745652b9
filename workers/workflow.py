"""The saga of one job, readable top to bottom: its steps, and what undoes them.

The body is deterministic: whatever has an effect, or may turn out otherwise the second time, is a durable step. A step
answers an outcome instead of raising, so that a failure is checkpointed like a success. Parked is a BaseException: a
worker's shutdown passes through here, undoes nothing, and the job goes on elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from app.domain.job import Job
from app.domain.move import OnFailure, Strategy
from app.domain.states import STEPS
from app.ports.engine import Saga, StepRunner


class Actions(Protocol):
    """What the saga can have done; workers/runner.py does it. Outcomes are JSON objects."""

    def do(self, job_id: str, step: str) -> dict[str, Any]:
        """{} on success, {"error": {...}} on failure, {"error": {...}, "cancelled": True} on a user's cancel."""
        ...

    def undo(self, job_id: str, step: str) -> list[dict[str, Any]]:
        """What is left over, empty when all is undone."""
        ...

    def look_at_source(self, job_id: str) -> dict[str, Any]:
        """{"unchanged": whether a held job's copy is still the VM}, or {"error": {...}, "cancelled": …}."""
        ...

    def begin_undo(self, job_id: str) -> None: ...
    def succeed(self, job_id: str) -> None: ...
    def end(self, job_id: str, outcome: dict[str, Any], leftovers: list[dict[str, Any]]) -> None:
        """Name the state that the job ends in."""
        ...


def spec_of(job: Job) -> dict[str, Any]:
    """The frozen input of a run: a newer release must not change the steps of a job that is under way."""
    return {
        "job": job.id,
        "purpose": job.purpose,
        "steps": list(STEPS[Strategy(job.options.strategy)]),
        "finished": list(job.finished_steps()) if job.purpose == "move" else [],
        "hold": job.options.on_failure is OnFailure.HOLD,
    }


def not_worth_keeping(done: list[str]) -> list[str]:
    """What a held job undoes when its last step failed: that step's own half, and a copy that is not verified.

    The source's power is not given back: it stays off.
    """
    failed = done[-1]
    if failed in ("shutdown", "transfer"):  # what the journal of a copy proves is kept: it goes on there
        return []
    return [failed, "transfer"] if failed == "verify_copy" else [failed]


def make_saga(actions: Actions) -> Saga:
    def saga(run: StepRunner, spec: dict[str, Any]) -> None:
        if spec["purpose"] == "rollback":
            roll_back(run, spec)
        else:
            move(run, spec)

    def move(run: StepRunner, spec: dict[str, Any]) -> None:
        job = spec["job"]
        done: list[str] = list(spec["finished"])
        if done:
            seen = run("check:source", lambda: actions.look_at_source(job))
            if "error" in seen:
                left = undo_all(run, job, done) if seen["cancelled"] else []
                run("end", lambda: actions.end(job, seen, left))
                return
            if not seen["unchanged"]:
                # The kept copy is stale. The source's power stays as someone left it; the shutdown step looks again.
                for name in reversed(done):
                    if name != "shutdown":
                        run(f"stale:{name}", partial(actions.undo, job, name))
                done = []
        for name in spec["steps"]:
            if name in done:
                continue
            done.append(name)  # before the step: a half-done step is undone too
            outcome = run(f"do:{name}", partial(actions.do, job, name))
            if "error" in outcome:
                fail(run, spec, done, outcome)
                return
        run("end", lambda: actions.succeed(job))

    def fail(run: StepRunner, spec: dict[str, Any], done: list[str], outcome: dict[str, Any]) -> None:
        job = spec["job"]
        if spec["hold"] and not outcome.get("cancelled"):
            left = undo(run, job, not_worth_keeping(done))
        else:
            left = undo_all(run, job, done)
        run("end", lambda: actions.end(job, outcome, left))

    def roll_back(run: StepRunner, spec: dict[str, Any]) -> None:
        left = undo_all(run, spec["job"], spec["steps"])
        run("end", lambda: actions.end(spec["job"], {}, left))

    def undo_all(run: StepRunner, job: str, done: list[str]) -> list[dict[str, Any]]:
        run("undo:begin", lambda: actions.begin_undo(job))
        return undo(run, job, list(reversed(done)))

    def undo(run: StepRunner, job: str, names: list[str]) -> list[dict[str, Any]]:
        left: list[dict[str, Any]] = []
        for name in names:
            left += run(f"undo:{name}", partial(actions.undo, job, name))
        return left

    return saga
