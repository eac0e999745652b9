"""What happens to a job, as pure functions from one Job to the next. Every store applies these and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.domain.errors import Conflict, NotFound
from app.domain.job import Job, JobSummary, Pause
from app.domain.models import Artefact, DiskProgress, Leftover, Progress, StepRecord
from app.domain.move import OnFailure
from app.domain.states import STEPS, TERMINAL, JobState, check_transition

WAITS_OR_WORKS = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.ROLLING_BACK})


def holds_vm(job: Job) -> bool:
    """Whether no other job may take its VM: it is under way, or something of it is kept or left over."""
    kept = job.state is JobState.FAILED and job.options.on_failure is OnFailure.HOLD
    return job.state in WAITS_OR_WORKS or job.state is JobState.ROLLBACK_FAILED or kept


def begun(job: Job | JobSummary) -> bool:
    """Whether a worker has this run in hand: it then acts on what the user asks for, also while the job waits."""
    return job.started_at is not None


def pending_steps(job: Job) -> tuple[StepRecord, ...]:
    return tuple(StepRecord(name=name) for name in STEPS[job.options.strategy])


def move(
    job: Job,
    to: JobState,
    now: datetime,
    *,
    error: dict[str, Any] | None = None,
    leftovers: Sequence[Leftover] = (),
) -> Job:
    """Along the table, else Conflict; to the state it has is a no-op. An error once told stays until a retry."""
    if job.state is to:
        return job
    check_transition(job.state, to)
    ended = to in TERMINAL
    return _with(
        job,
        state=to,
        error=error or job.error,
        leftovers=tuple(leftovers) if ended else job.leftovers,
        phase="" if ended else job.phase,
        pause=job.pause if to is JobState.PAUSED else None,
        started_at=job.started_at or (now if to is JobState.RUNNING else None),
        ended_at=now if ended else None,
    )


def start_step(job: Job, name: str, now: datetime) -> Job:
    step = _step(job, name)
    begun = step.model_copy(
        update={
            "state": "running",
            "attempts": step.attempts + 1,
            "started_at": step.started_at or now,
            "ended_at": None,
            "error": None,
        }
    )
    return _with(job, phase=name, steps=_replaced(job, begun))


def end_step(
    job: Job, name: str, state: str, now: datetime, *, error: dict[str, Any] | None = None, detail: str = ""
) -> Job:
    """An undo changes the state only: when the step ran, what it said and why it failed stay to be read."""
    step = _step(job, name)
    values = dict(step) | {"state": state}
    if state != "undone":
        values |= {"ended_at": now, "error": error, "detail": detail or step.detail}
    return _with(job, steps=_replaced(job, StepRecord.model_validate(values)))


def record(job: Job, changes: dict[str, Any]) -> Job:
    """Set facts that steps find out; `data` is merged. What has a rule of its own cannot be set this way."""
    unknown = changes.keys() - {"vm", "before", "off_since", "concerns", "guest", "boot", "domain_uuid", "data"}
    if unknown:
        raise TypeError(f"not a fact that a step may record: {', '.join(sorted(unknown))}")
    if "data" in changes:
        changes = changes | {"data": job.data | changes["data"]}
    return _with(job, **changes)


def with_progress(job: Job, disks: Sequence[DiskProgress], rate: float | None, eta_s: float | None) -> Job:
    total = Progress(
        bytes_done=sum(disk.bytes_done for disk in disks),
        bytes_total=sum(disk.capacity_bytes for disk in disks),
        bytes_skipped=sum(disk.bytes_skipped for disk in disks),
        wire_bytes=sum(disk.wire_bytes for disk in disks),
        rate=rate,
        eta_s=eta_s,
    )
    return _with(job, disks=tuple(disks), progress=total)


def keep(job: Job, artefact: Artefact) -> Job:
    """Insert, or replace in its place the one of the same (kind, name)."""
    if job.artefact(artefact.kind, artefact.name) is None:
        return _with(job, artefacts=(*job.artefacts, artefact))
    key = (artefact.kind, artefact.name)
    return _with(job, artefacts=tuple(artefact if (a.kind, a.name) == key else a for a in job.artefacts))


def drop(job: Job, kind: str, name: str) -> Job:
    return _with(job, artefacts=tuple(a for a in job.artefacts if (a.kind, a.name) != (kind, name)))


def cancel(job: Job, now: datetime) -> Job:
    """A waiting job ends at once, or is rolled back when an earlier run left something; a begun one is told to stop.

    Cancelling twice is once. Raises Conflict for a job that has ended or is being rolled back.
    """
    if job.state is JobState.CANCELLED:
        return job
    if job.state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
        if begun(job):
            return _with(job, stop_requested=True)
        if job.artefacts or job.off_since:
            return _undo(job, now)
        return move(job, JobState.CANCELLED, now)
    if job.state is JobState.ROLLING_BACK:
        raise Conflict(f"job {job.id} is being rolled back", "A rollback cannot be cancelled: wait until it has ended.")
    raise Conflict(f"job {job.id} has ended: it is {job.state}", "Use rollback to undo what it did.")


def pause(job: Job, now: datetime) -> Job:
    """A waiting job rests at once, a running one is told to; one that waits for room now waits for the user.

    Pausing twice is once. Raises Conflict for a job that is stopping, being rolled back or has ended.
    """
    if job.state not in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
        raise Conflict(f"job {job.id} is {job.state}", "Only a job that waits or runs can be paused.")
    if job.stop_requested:
        raise Conflict(f"job {job.id} is being cancelled", "Wait until it has ended.")
    if job.pause is not None and job.pause.by == "user":
        return job
    asked = _with(job, pause=Pause(by="user", since=now))
    return move(asked, JobState.PAUSED, now) if job.state is JobState.QUEUED else asked


def rest(job: Job, step: str, now: datetime, *, room: Pause | None = None, error: dict[str, Any] | None = None) -> Job:
    """A running job whose `step` was left comes to rest: as the user asked, or until there is `room`.

    A job whose pause was taken back meanwhile runs on.
    """
    why = job.pause or room
    if job.state is not JobState.RUNNING or why is None:
        return job
    if any(item.name == step and item.state == "running" for item in job.steps):
        job = end_step(job, step, "paused", now, error=error)
    return move(_with(job, pause=why.model_copy(update={"since": now})), JobState.PAUSED, now)


def resume(job: Job, now: datetime) -> Job:
    """A paused job waits for a slot, and goes on where it was; one that was only asked to pause runs on.

    What waits or runs is left as it is. Raises Conflict for a job that is stopping, being rolled back or has ended.
    """
    if job.stop_requested:
        raise Conflict(f"job {job.id} is being cancelled", "Wait until it has ended.")
    if job.state is JobState.PAUSED:
        return move(job, JobState.QUEUED, now)
    if job.state not in (JobState.QUEUED, JobState.RUNNING):
        raise Conflict(f"job {job.id} is {job.state}", "Only a paused job can be resumed.")
    return _with(job, pause=None)


def wake(job: Job, now: datetime) -> Job:
    """There is room again: a job that waits for it goes on, any other is left as it is."""
    waits = job.state is JobState.PAUSED and job.pause is not None and job.pause.by == "space"
    return resume(job, now) if waits and not job.stop_requested else job


def retry(job: Job) -> Job:
    """A new run of a failed job: from the first unfinished step where it was held, else from the start."""
    if job.state is not JobState.FAILED:
        raise Conflict(
            f"job {job.id} is {job.state}: only a failed job can be retried", "Submit a new job to move this VM again."
        )
    held = job.options.on_failure is OnFailure.HOLD
    done = {step.name: step for step in job.steps if held and step.state in ("succeeded", "skipped")}
    fresh: dict[str, Any] = (
        {} if held else {"before": None, "off_since": None, "domain_uuid": "", "guest": None, "boot": None}
    )
    if not held:
        fresh |= {"disks": (), "progress": Progress(), "data": {}, "concerns": ()}
    return _with(
        job,
        run=job.run + 1,
        purpose="move",
        state=JobState.QUEUED,
        phase="",
        stop_requested=False,
        pause=None,
        error=None,
        started_at=None,
        ended_at=None,
        steps=tuple(done.get(step.name, step) for step in pending_steps(job)),
        **fresh,
    )


def roll_back(job: Job, now: datetime) -> Job:
    """A new run of an ended job that undoes it. Raises Conflict where the table has no such way."""
    if job.state not in TERMINAL:
        raise Conflict(f"job {job.id} is {job.state}", "Cancel it: a cancel rolls back what was done.")
    if job.state is JobState.ROLLED_BACK:
        raise Conflict(f"job {job.id} is rolled back already", "There is nothing left to undo.")
    return _undo(job, now)


def _undo(job: Job, now: datetime) -> Job:
    again = _with(job, run=job.run + 1, purpose="rollback", stop_requested=False, phase="")
    return move(again, JobState.ROLLING_BACK, now)


def _step(job: Job, name: str) -> StepRecord:
    for step in job.steps:
        if step.name == name:
            return step
    raise NotFound(f"job {job.id} has no step {name}")


def _replaced(job: Job, step: StepRecord) -> tuple[StepRecord, ...]:
    return tuple(step if old.name == step.name else old for old in job.steps)


def _with(job: Job, **changes: Any) -> Job:
    return Job.model_validate(dict(job) | changes)
