"""What a worker reads and writes of jobs. The API's repositories are beside it in app/store/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from app.domain.job import Beat, Job, Operation, Pause
from app.domain.limits import ScopedLimit
from app.domain.models import VM, Artefact, Check, DiskProgress, Leftover, SourceSpec, TargetFacts, TargetSpec
from app.domain.states import JobState


class Asked(NamedTuple):
    """What the user wants of a job, and what it is now."""

    state: JobState
    stop: bool
    pause: bool


class JobStore(Protocol):
    def job(self, job_id: str) -> Job: ...
    def source(self, source_id: str) -> SourceSpec: ...
    def target(self, target_id: str) -> TargetSpec: ...
    def disk_keys(self, job_id: str) -> dict[str, str]:
        """The keys of its encrypted disks, in clear: for memory only. None once the job is through."""
        ...

    def sharing_pool(self, job_id: str) -> list[Job]:
        """Jobs that wait, run or are paused and write to the same pool, itself among them, oldest first."""
        ...

    def transition(
        self, job_id: str, to: JobState, *, error: dict[str, Any] | None = None, leftovers: Sequence[Leftover] = ()
    ) -> Job:
        """Move along the table (else Conflict); to the state it has is a no-op. Releases the VM where the job ends."""
        ...

    def step_started(self, job_id: str, step: str) -> int:
        """Set the phase, count the attempt and answer its number."""
        ...

    def step_ended(
        self, job_id: str, step: str, state: str, *, error: dict[str, Any] | None = None, detail: str = ""
    ) -> None: ...
    def record(self, job_id: str, **changes: Any) -> Job:
        """Set fields of the job: vm, before, off_since, concerns, guest, boot, domain_uuid; `data` is merged."""
        ...

    def progress(self, job_id: str, disks: Sequence[DiskProgress], rate: float | None, eta_s: float | None) -> None: ...
    def keep(self, job_id: str, artefact: Artefact) -> None:
        """Insert or replace by (kind, name): first as an intent, then as made."""
        ...

    def drop(self, job_id: str, kind: str, name: str) -> None: ...
    def event(self, job_id: str, kind: str, message: str, *, level: str = "info", **data: Any) -> None: ...
    def asked(self, job_id: str) -> Asked: ...
    def limits(self, job_id: str) -> list[ScopedLimit]:
        """Those that concern a job: the service's, its source's and its own, where they are set."""
        ...

    def rest(self, job_id: str, step: str, *, room: Pause | None = None, error: dict[str, Any] | None = None) -> Job:
        """Pause a running job whose step was left: as the user asked, or until there is `room`; else let it run."""
        ...

    def wake(self, job_id: str) -> Job:
        """There is room: a job that waits for it waits for a slot now."""
        ...


class WorkerStore(Protocol):
    def beat(self, mine: Beat) -> list[Beat]:
        """Write my heartbeat, answer everybody's."""
        ...

    def forget(self, executor: str) -> None:
        """Remove a dead worker's heartbeat and give its operations back to the queue."""
        ...

    def admit(self, limit: int, enqueue: Callable[[Any, Job], None]) -> list[str]:
        """Take waiting jobs while fewer than `limit` are under way, oldest first; `enqueue` joins the transaction.

        A paused job takes no place. One that was resumed is in the engine's hands already: it only runs again.
        """
        ...

    def claim_operation(self, executor: str) -> Operation | None: ...
    def end_operation(
        self, operation_id: str, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None: ...
    def save_inventory(self, source_id: str, identity: str, vms: Sequence[VM]) -> None: ...
    def save_source_checks(self, source_id: str, identity: str, checks: Sequence[Check]) -> None: ...
    def save_target_facts(self, target_id: str, facts: TargetFacts, checks: Sequence[Check]) -> None: ...
