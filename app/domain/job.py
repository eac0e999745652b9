"""A job: the move of one VM, as the database holds it and the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import Field

from app.domain.boot import Boot
from app.domain.models import (
    VM,
    Artefact,
    Concern,
    DiskProgress,
    GuestReport,
    Leftover,
    PowerState,
    Progress,
    StepRecord,
)
from app.domain.move import MoveOptions, OnFailure
from app.domain.states import JobState
from app.domain.value import Value


class SourceBefore(Value):
    """How the source was before vmferry touched it: what a rollback gives back."""

    power_state: PowerState
    annotation: str
    snapshots: tuple[str, ...] = ()
    seen_at: datetime  # the source's own clock


class Pause(Value):
    """Why a job rests: the user asked for it, or a file system is full.

    With `resume_at_bytes` it goes on by itself, once so much is free where `path` is.
    """

    by: Literal["user", "space"]
    since: datetime
    detail: str = ""  # what is waited for, in a few words
    path: str = ""
    resume_at_bytes: int | None = None


class Job(Value):
    id: str
    run: int = 1  # counts submissions to the engine: a retry and a rollback are new runs of the same job
    purpose: Literal["move", "rollback"] = "move"
    vm_id: str
    vm_name: str
    source_id: str
    source_name: str
    target_id: str
    target_name: str
    plan_id: str = ""  # of the plan that started it
    options: MoveOptions
    state: JobState = JobState.QUEUED
    phase: str = ""
    stop_requested: bool = False
    pause: Pause | None = None  # asked for while it runs, in force while it is paused
    vm: VM | None = None  # as preflight saw it; before that, as the inventory had it
    before: SourceBefore | None = None
    off_since: datetime | None = None  # the source's clock when it was seen off; a start after that is noticed
    domain_uuid: str = ""
    steps: tuple[StepRecord, ...] = ()
    disks: tuple[DiskProgress, ...] = ()
    progress: Progress = Progress()
    concerns: tuple[Concern, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    guest: GuestReport | None = None
    boot: Boot | None = None
    leftovers: tuple[Leftover, ...] = ()
    error: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    data: dict[str, Any] = Field(default_factory=dict)  # facts that steps leave for later steps

    @property
    def workflow_id(self) -> str:
        return f"{self.id}.{self.run}"

    @property
    def on_failure(self) -> OnFailure:
        return self.options.on_failure

    def finished_steps(self) -> tuple[str, ...]:
        return tuple(step.name for step in self.steps if step.state in ("succeeded", "skipped"))

    def artefact(self, kind: str, name: str) -> Artefact | None:
        return next((item for item in self.artefacts if item.kind == kind and item.name == name), None)


class JobSummary(Value):
    """What a list of many jobs shows of one."""

    id: str
    run: int
    purpose: Literal["move", "rollback"]
    vm_name: str
    target_name: str
    on_failure: OnFailure
    state: JobState
    phase: str
    stop_requested: bool
    pause: Pause | None
    before: SourceBefore | None
    steps: tuple[StepRecord, ...]
    disks: tuple[DiskProgress, ...]
    progress: Progress
    boot: Boot | None
    error: dict[str, Any] | None
    domain_uuid: str
    off_since: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class JobGlance(NamedTuple):
    """What the totals of a plan need of each of its jobs: read again and again, of thousands."""

    progress: Progress
    pause: Pause | None
    started_at: datetime | None
    ended_at: datetime | None


class Event(Value):
    """One line of the append-only table that live streams and `GET /v1/events` read. A job's has its plan's id, too."""

    id: int
    at: datetime
    job_id: str = ""
    plan_id: str = ""
    kind: str  # job.state | job.step | job.progress | job.log | …
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: str
    data: dict[str, Any] = Field(default_factory=dict)


class Operation(Value):
    """Work for a worker that is not a job: a source's or target's check, an inventory refresh."""

    id: str
    kind: Literal["check_source", "refresh_inventory", "check_target"]
    subject_id: str
    state: Literal["queued", "running", "succeeded", "failed"] = "queued"
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created_at: datetime
    ended_at: datetime | None = None


class Beat(Value):
    """A worker's heartbeat. `boot_id` and `pid_started` tell, on the same machine, whether the process still lives."""

    executor: str  # a new UUID at every process start
    count: int
    boot_id: str
    pid: int
    pid_started: int  # field 22 of /proc/PID/stat, clock ticks since boot
    left: bool = False  # it stopped in good order: take over at once
