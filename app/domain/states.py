"""The states of a job and the moves between them that are allowed; anything else raises."""

from __future__ import annotations

from enum import StrEnum

from app.domain.errors import Conflict
from app.domain.move import Strategy


class JobState(StrEnum):
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker carries out its steps; `phase` names the one under way
    PAUSED = "paused"  # by the user, or because a file system is full; nothing is undone, and it goes on where it was
    SUCCEEDED = "succeeded"  # the VM is on the target, the source is off and, where it keeps notes, annotated
    FAILED = "failed"  # with on_failure=rollback all is undone; with hold the verified copy is kept
    CANCELLED = "cancelled"  # by the user, and undone
    ROLLING_BACK = "rolling_back"  # steps are being undone, newest first
    ROLLED_BACK = "rolled_back"  # undone because the user asked for it after the job had ended
    ROLLBACK_FAILED = "rollback_failed"  # something is left over: the job lists it with the command that removes it


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED, JobState.ROLLING_BACK}),
    JobState.RUNNING: frozenset(
        {JobState.PAUSED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.ROLLING_BACK}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.ROLLING_BACK}),
    JobState.SUCCEEDED: frozenset({JobState.ROLLING_BACK}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.ROLLING_BACK}),
    JobState.CANCELLED: frozenset({JobState.ROLLING_BACK}),
    JobState.ROLLING_BACK: frozenset(
        {JobState.FAILED, JobState.CANCELLED, JobState.ROLLED_BACK, JobState.ROLLBACK_FAILED}
    ),
    JobState.ROLLED_BACK: frozenset(),
    JobState.ROLLBACK_FAILED: frozenset({JobState.ROLLING_BACK}),
}

TERMINAL = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.ROLLED_BACK, JobState.ROLLBACK_FAILED}
)

STEPS: dict[Strategy, tuple[str, ...]] = {
    Strategy.COLD: (
        "preflight",
        "shutdown",
        "transfer",
        "verify_copy",
        "convert",
        "define",
        "boot_check",
        "finalise",
    ),
    Strategy.DISK_ONLY: ("preflight", "shutdown", "transfer", "verify_copy", "define", "finalise"),
}


def check_transition(current: JobState, to: JobState) -> None:
    """Raise Conflict when the table has no way from `current` to `to`."""
    if to not in TRANSITIONS[current]:
        allowed = ", ".join(sorted(TRANSITIONS[current])) or "nothing: it is final"
        raise Conflict(
            f"a job that is {current} cannot become {to}",
            f"From {current} a job can become {allowed}.",
            code="illegal_transition",
        )
