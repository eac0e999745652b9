"""Carries out the steps of the saga: retries by the class of the error, pause, cancel, parking, fencing, records."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from app.domain.errors import (
    Cancelled,
    CompensationFailed,
    NoSpace,
    Parked,
    Paused,
    SourceChanged,
    TransientError,
    VmferryError,
    describe,
)
from app.domain.models import Leftover
from app.domain.states import JobState
from app.ports.store import JobStore
from workers.room import full_folder, waits_for_room
from workers.steps.context import Adapters, Step, StepContext

Result = TypeVar("Result")

ASK_EVERY_S = 0.5  # how often a running step asks the store whether the user wants it stopped or paused


@dataclass(frozen=True)
class RetryPolicy:
    attempts: int = 5
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0


class Runner:
    """Implements workflow.Actions for one worker process, known to the store as `executor`."""

    def __init__(
        self,
        store: JobStore,
        adapters: Adapters,
        steps: Mapping[str, Step],
        *,
        executor: str,
        stopping: threading.Event,
        retry: RetryPolicy,
    ) -> None:
        self._store = store
        self._adapters = adapters
        self._steps = steps
        self._executor = executor
        self._stopping = stopping
        self._retry = retry
        self._log = structlog.get_logger("worker")

    # ---- workflow.Actions

    def do(self, job_id: str, step: str) -> dict[str, Any]:
        with structlog.contextvars.bound_contextvars(job_id=job_id, step=step):
            self._store.record(job_id, data={"executor": self._executor})
            try:
                detail = self._until_done(job_id, step)
            except Cancelled as error:
                self._store.step_ended(job_id, step, "failed", error=error.to_dict())
                return {"error": error.to_dict(), "cancelled": True}
            except Exception as error:  # noqa: BLE001  the top of a step: whatever it was, the job must end in a state
                if not isinstance(error, VmferryError):
                    self._log.exception("step failed by a fault of our own")
                self._store.step_ended(job_id, step, "failed", error=dict(describe(error)))
                return {"error": dict(describe(error))}
            self._store.step_ended(job_id, step, "succeeded", detail=detail)
            return {}

    def undo(self, job_id: str, step: str) -> list[dict[str, Any]]:
        with structlog.contextvars.bound_contextvars(job_id=job_id, undo=step):
            self._store.record(job_id, data={"executor": self._executor})
            try:
                self._with_retries(job_id, f"undoing {step}", self._park_check, self._steps[step].undo)
            except CompensationFailed as error:
                return self._left_over(job_id, step, error.leftovers)
            except Exception as error:  # noqa: BLE001  an undo that fails must not keep the others from running
                if not isinstance(error, VmferryError):
                    self._log.exception("undo failed by a fault of our own")
                cause = str(describe(error)["message"])
                with self._context(job_id, attempt=0, cancel=self._park_check) as ctx:
                    return self._left_over(job_id, step, list(self._steps[step].leftovers(ctx, cause)))
            if step in self._store.job(job_id).finished_steps():
                self._store.step_ended(job_id, step, "undone")
            return []

    def look_at_source(self, job_id: str) -> dict[str, Any]:
        with structlog.contextvars.bound_contextvars(job_id=job_id, step="look_at_source"):
            cancel = self._cancel_check(job_id, pauses=False)  # the step that comes next will
            try:
                self._with_retries(job_id, "looking at the source", cancel, StepContext.require_source_off)
            except SourceChanged as error:
                self._store.event(job_id, "job.log", f"{error.message}; copying again", level="warning")
                self._store.record(job_id, data={"converted": False})
                return {"unchanged": False}
            except VmferryError as error:
                return {"error": error.to_dict(), "cancelled": isinstance(error, Cancelled)}
            return {"unchanged": True}

    def begin_undo(self, job_id: str) -> None:
        self._store.transition(job_id, JobState.ROLLING_BACK)

    def succeed(self, job_id: str) -> None:
        self._store.transition(job_id, JobState.SUCCEEDED)

    def end(self, job_id: str, outcome: dict[str, Any], leftovers: list[dict[str, Any]]) -> None:
        left = [Leftover.model_validate(item) for item in leftovers]
        error = outcome.get("error")
        if left:
            if self._store.job(job_id).state is JobState.RUNNING:
                self._store.transition(job_id, JobState.ROLLING_BACK)
            self._store.transition(job_id, JobState.ROLLBACK_FAILED, error=error, leftovers=left)
        elif outcome.get("cancelled"):
            self._store.transition(job_id, JobState.CANCELLED, error=error)
        elif error is not None:
            self._store.transition(job_id, JobState.FAILED, error=error)
        else:
            self._store.transition(job_id, JobState.ROLLED_BACK)

    # ---- pauses

    def _until_done(self, job_id: str, step: str) -> str:
        """Do a step. When it was paused, or a file system is full, wait within it and do it again.

        The engine knows nothing of a pause: it sees one long step, which whoever takes the job over finds paused.
        """
        while True:
            self._wait_while_paused(job_id)
            cancel = self._cancel_check(job_id)
            try:
                cancel()
                return self._with_retries(job_id, step, cancel, self._steps[step].do, step=step)
            except Paused:
                self._store.rest(job_id, step)
            except (NoSpace, OSError) as error:
                folder = full_folder(error, self._adapters.home)
                if folder is None:
                    raise
                self._rest_until_room(job_id, step, folder, dict(describe(error)))

    def _rest_until_room(self, job_id: str, step: str, folder: Path, error: dict[str, Any]) -> None:
        job = self._store.job(job_id)
        ours = folder.is_relative_to(self._adapters.home)
        pool = "" if ours else job.options.for_target(self._store.target(job.target_id)).pool
        room = waits_for_room(job, folder, self._adapters.room(folder), pool, self._adapters.clock.now())
        self._store.rest(job_id, step, room=room, error=error)

    def _wait_while_paused(self, job_id: str) -> None:
        """Until the job runs: once it is resumed, it waits for a slot as any other."""
        looked = time.monotonic()
        waited = False
        while (asked := self._store.asked(job_id)).state in (JobState.PAUSED, JobState.QUEUED):
            waited = True
            self._park_check()
            if asked.stop:
                raise Cancelled("the user cancelled the job")
            if asked.state is JobState.PAUSED and time.monotonic() - looked >= self._adapters.space_poll_s:
                looked = time.monotonic()
                self._look_for_room(job_id)
            self._stopping.wait(ASK_EVERY_S)
        if waited:
            self._fence(job_id)

    def _look_for_room(self, job_id: str) -> None:
        pause = self._store.job(job_id).pause
        if pause is None or pause.resume_at_bytes is None:
            return
        room = self._adapters.room(Path(pause.path))
        if room is not None and room.free >= pause.resume_at_bytes:
            self._store.wake(job_id)

    # ---- one attempt after the other

    def _with_retries(
        self,
        job_id: str,
        what: str,
        cancel: Callable[[], None],
        act: Callable[[StepContext], Result],
        *,
        step: str = "",
    ) -> Result:
        """Run `act` until it succeeds, fails for good, or the policy's attempts are used up; `step` counts them."""

        def once() -> Result:
            attempt = self._store.step_started(job_id, step) if step else 0
            with self._context(job_id, attempt=attempt, cancel=cancel) as ctx:
                return act(ctx)

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait = state.next_action.sleep if state.next_action else 0.0
            message = error.message if isinstance(error, VmferryError) else str(error)
            self._store.event(
                job_id,
                "job.retry",
                f"{what}: {message}; trying again in {wait:.0f} s",
                level="warning",
                step=step,
                attempt=state.attempt_number,
            )

        def sleep(seconds: float) -> None:
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                cancel()
                time.sleep(min(left, ASK_EVERY_S))

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._retry.attempts),
            wait=wait_exponential(multiplier=self._retry.first_wait_s, max=self._retry.longest_wait_s),
            sleep=sleep,
            before_sleep=tell,
            reraise=True,
        )
        return retrying(once)

    def _context(self, job_id: str, *, attempt: int, cancel: Callable[[], None]) -> StepContext:
        return StepContext(
            job_id, self._store, self._adapters, attempt=attempt, cancel=cancel, fence=lambda: self._fence(job_id)
        )

    def _fence(self, job_id: str) -> None:
        """Stop short of an irreversible act when another worker has taken the job over while we were frozen."""
        if self._store.job(job_id).data.get("executor") != self._executor:
            raise Parked(f"job {job_id} was taken over by another worker")

    def _park_check(self) -> None:
        if self._stopping.is_set():
            raise Parked("this worker is stopping")

    def _cancel_check(self, job_id: str, *, pauses: bool = True) -> Callable[[], None]:
        """What a step calls again and again: raises Parked, Cancelled or Paused when it shall stop."""
        last = 0.0

        def check() -> None:
            nonlocal last
            self._park_check()
            now = time.monotonic()
            if now - last >= ASK_EVERY_S:
                last = now
                asked = self._store.asked(job_id)
                if asked.stop:
                    raise Cancelled("the user cancelled the job")
                if asked.pause and pauses:
                    raise Paused(f"job {job_id} shall rest")

        return check

    def _left_over(self, job_id: str, step: str, leftovers: list[Leftover]) -> list[dict[str, Any]]:
        for item in leftovers:
            self._store.event(job_id, "job.leftover", f"left over: {item.what}", level="error", command=item.command)
        return [item.to_dict() for item in leftovers]
