"""The store in memory, for tests of workflows: the same lifecycle rules as the SQL one, and no database."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from app.domain import lifecycle
from app.domain.errors import NotFound
from app.domain.job import Beat, Event, Job, Operation, Pause
from app.domain.limits import ScopedLimit
from app.domain.models import VM, Artefact, Check, DiskProgress, Leftover, SourceSpec, TargetFacts, TargetSpec
from app.domain.space import WRITERS
from app.domain.states import JobState
from app.ports.store import Asked
from app.store.disk_keys import THROUGH
from app.store.rows import vm_is_taken

T = TypeVar("T")


class MemoryStore:
    """JobStore, WorkerStore and the requests of users in one object; `sources` and `targets` are filled by the test."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceSpec] = {}
        self.targets: dict[str, TargetSpec] = {}
        self.identities: dict[str, str] = {}
        self.inventory: dict[str, list[VM]] = {}
        self.checks: dict[str, list[Check]] = {}
        self.facts: dict[str, TargetFacts] = {}
        self.jobs: dict[str, Job] = {}
        self.limits_set: dict[tuple[str, str], ScopedLimit] = {}
        self.events: list[Event] = []
        self.operations: dict[str, Operation] = {}
        self._claimed: dict[str, str] = {}
        self._line: list[str] = []  # ids in the order of admission
        self._admitted: set[str] = set()  # runs that are in the engine's hands
        self._beats: dict[str, Beat] = {}
        self._keys: dict[str, dict[str, str]] = {}
        self._lock = threading.RLock()

    # JobStore

    def job(self, job_id: str) -> Job:
        with self._lock:
            if job_id not in self.jobs:
                raise NotFound(f"no job {job_id}")
            return self.jobs[job_id]

    def source(self, source_id: str) -> SourceSpec:
        return _known(self.sources, source_id)

    def target(self, target_id: str) -> TargetSpec:
        return _known(self.targets, target_id)

    def disk_keys(self, job_id: str) -> dict[str, str]:
        return {} if self.job(job_id).state in THROUGH else self._keys.get(job_id, {})

    def sharing_pool(self, job_id: str) -> list[Job]:
        def pool(job: Job) -> tuple[str, str]:
            target = self.targets[job.target_id]
            return target.uri, job.options.pool or target.pool

        with self._lock:
            mine = pool(self.job(job_id))
            found = [job for job in self.jobs.values() if job.state in WRITERS and pool(job) == mine]
            return sorted(found, key=lambda job: (job.created_at, job.id))

    def transition(
        self, job_id: str, to: JobState, *, error: dict[str, Any] | None = None, leftovers: Sequence[Leftover] = ()
    ) -> Job:
        return self._change(job_id, lambda job: lifecycle.move(job, to, _now(), error=error, leftovers=leftovers))

    def step_started(self, job_id: str, step: str) -> int:
        job = self._change(job_id, lambda job: lifecycle.start_step(job, step, _now()))
        self.event(job_id, "job.step", f"{step} started", step=step, state="running")
        return next(item.attempts for item in job.steps if item.name == step)

    def step_ended(
        self, job_id: str, step: str, state: str, *, error: dict[str, Any] | None = None, detail: str = ""
    ) -> None:
        self._change(job_id, lambda job: lifecycle.end_step(job, step, state, _now(), error=error, detail=detail))
        level = "error" if state == "failed" else "info"
        self.event(job_id, "job.step", f"{step} {state}", level=level, step=step, state=state, error=error)

    def record(self, job_id: str, **changes: Any) -> Job:
        return self._change(job_id, lambda job: lifecycle.record(job, changes))

    def progress(self, job_id: str, disks: Sequence[DiskProgress], rate: float | None, eta_s: float | None) -> None:
        job = self._change(job_id, lambda job: lifecycle.with_progress(job, disks, rate, eta_s))
        self.event(job_id, "job.progress", "", level="debug", progress=job.progress.to_dict())

    def keep(self, job_id: str, artefact: Artefact) -> None:
        self._change(job_id, lambda job: lifecycle.keep(job, artefact))

    def drop(self, job_id: str, kind: str, name: str) -> None:
        self._change(job_id, lambda job: lifecycle.drop(job, kind, name))

    def event(self, job_id: str, kind: str, message: str, *, level: str = "info", **data: Any) -> None:
        with self._lock:
            values = {"job_id": job_id, "kind": kind, "level": level, "message": message, "data": data}
            self.events.append(Event.model_validate({"id": len(self.events) + 1, "at": _now(), **values}))

    def asked(self, job_id: str) -> Asked:
        job = self.job(job_id)
        return Asked(job.state, job.stop_requested, job.pause is not None)

    def limits(self, job_id: str) -> list[ScopedLimit]:
        concerning = {("service", ""), ("source", self.job(job_id).source_id), ("job", job_id)}
        return [limit for key, limit in self.limits_set.items() if key in concerning]

    def rest(self, job_id: str, step: str, *, room: Pause | None = None, error: dict[str, Any] | None = None) -> Job:
        return self._change(job_id, lambda job: lifecycle.rest(job, step, _now(), room=room, error=error))

    def wake(self, job_id: str) -> Job:
        return self._change(job_id, lambda job: lifecycle.wake(job, _now()))

    # WorkerStore

    def beat(self, mine: Beat) -> list[Beat]:
        with self._lock:
            self._beats[mine.executor] = mine
            return sorted(self._beats.values(), key=lambda beat: beat.executor)

    def forget(self, executor: str) -> None:
        with self._lock:
            self._beats.pop(executor, None)
            for operation_id in [key for key, owner in self._claimed.items() if owner == executor]:
                del self._claimed[operation_id]
                self._set_operation(operation_id, state="queued")

    def admit(self, limit: int, enqueue: Callable[[Any, Job], None]) -> list[str]:
        with self._lock:
            kept = dict(self.jobs), list(self.events), set(self._admitted)
            under_way = (JobState.RUNNING, JobState.ROLLING_BACK)
            busy = [j for j in self.jobs.values() if j.state in under_way and j.workflow_id in self._admitted]
            waiting = [self.jobs[job_id] for job_id in self._line if self._waits(self.jobs[job_id])]
            admitted = waiting[: max(0, limit - len(busy))]
            try:
                for job in admitted:
                    if job.purpose == "move":
                        self.transition(job.id, JobState.RUNNING)
                    if job.workflow_id not in self._admitted:
                        self._admitted.add(job.workflow_id)
                        enqueue(None, self.jobs[job.id])
            except BaseException:
                self.jobs, self.events, self._admitted = kept
                raise
            return [job.id for job in admitted]

    def claim_operation(self, executor: str) -> Operation | None:
        with self._lock:
            for operation in self.operations.values():
                if operation.state == "queued":
                    self._claimed[operation.id] = executor
                    return self._set_operation(operation.id, state="running")
            return None

    def end_operation(
        self, operation_id: str, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        with self._lock:
            self._claimed.pop(operation_id, None)
            state = "failed" if error else "succeeded"
            self._set_operation(operation_id, state=state, result=result, error=error, ended_at=_now())

    def save_inventory(self, source_id: str, identity: str, vms: Sequence[VM]) -> None:
        self.identities[source_id] = identity
        self.inventory[source_id] = list(vms)

    def save_source_checks(self, source_id: str, identity: str, checks: Sequence[Check]) -> None:
        self.checks[source_id] = list(checks)
        if identity:
            self.identities[source_id] = identity

    def save_target_facts(self, target_id: str, facts: TargetFacts, checks: Sequence[Check]) -> None:
        self.checks[target_id] = list(checks)
        self.facts[target_id] = facts

    # what users ask

    def set(self, limit: ScopedLimit) -> None:
        self.limits_set[limit.scope, limit.subject] = limit

    def clear(self, scope: str, subject: str) -> None:
        self.limits_set.pop((scope, subject), None)

    def submit(self, job: Job, limit: ScopedLimit | None = None, keys: Mapping[str, str] | None = None) -> Job:
        with self._lock:
            self._keys[job.id] = dict(keys or {})
            if limit is not None:
                self.set(limit)
            self._take(job)
            self.jobs[job.id] = job
            self._line.append(job.id)
            self.event(job.id, "job.state", f"{job.vm_name}: {job.state}", state=job.state)
            return job

    def pause(self, job_id: str) -> Job:
        return self._change(job_id, lambda job: lifecycle.pause(job, _now()))

    def resume(self, job_id: str) -> Job:
        return self._change(job_id, lambda job: lifecycle.resume(job, _now()))

    def cancel(self, job_id: str) -> Job:
        return self._change(job_id, lambda job: lifecycle.cancel(job, _now()))

    def retry(self, job_id: str) -> Job:
        return self._change(job_id, lifecycle.retry)

    def roll_back(self, job_id: str) -> Job:
        return self._change(job_id, lambda job: lifecycle.roll_back(job, _now()))

    def ask(self, kind: str, subject_id: str) -> Operation:
        made = Operation.model_validate(
            {"id": secrets.token_hex(6), "kind": kind, "subject_id": subject_id, "created_at": _now()}
        )
        self.operations[made.id] = made
        return made

    def _change(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        with self._lock:
            before = self.job(job_id)
            after = change(before)
            if lifecycle.holds_vm(after):
                self._take(after)
            if after.run != before.run:
                self._line = [*(item for item in self._line if item != job_id), job_id]
            self.jobs[job_id] = after
            if after.state is not before.state:
                self.event(job_id, "job.state", f"{before.state} → {after.state}", state=after.state)
            return after

    def _waits(self, job: Job) -> bool:
        begun = job.workflow_id in self._admitted
        return job.state is JobState.QUEUED or (job.state is JobState.ROLLING_BACK and not begun)

    def _take(self, job: Job) -> None:
        for other in self.jobs.values():
            if other.id != job.id and self._vm(other) == self._vm(job) and lifecycle.holds_vm(other):
                raise vm_is_taken(job.vm_name, other)

    def _vm(self, job: Job) -> tuple[str, str]:
        return self.identities.get(job.source_id) or job.source_id, job.vm_id

    def _set_operation(self, operation_id: str, **changes: Any) -> Operation:
        self.operations[operation_id] = self.operations[operation_id].model_copy(update=changes)
        return self.operations[operation_id]


def _now() -> datetime:
    return datetime.now(UTC)


def _known(table: dict[str, T], key: str) -> T:
    if key not in table:
        raise NotFound(f"{key} is not registered")
    return table[key]
