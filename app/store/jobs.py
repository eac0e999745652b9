"""JobStore on SQLAlchemy: what a worker reads and writes of a job, each change with its event in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from app.domain import lifecycle
from app.domain.job import Job, Pause
from app.domain.limits import ScopedLimit
from app.domain.models import Artefact, DiskProgress, Leftover, SourceSpec, TargetSpec
from app.domain.states import JobState
from app.ports.store import Asked
from app.store import disk_keys, limits, rows
from app.store.engine import reading, writing
from app.store.registrations import source_spec, target_spec
from app.store.secretbox import SecretBox
from app.store.tables import jobs


class SqlJobStore:
    """app/ports/store.py: JobStore. Every method raises NotFound for an unknown id."""

    def __init__(self, engine: sa.Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    def job(self, job_id: str) -> Job:
        with reading(self._engine) as connection:
            return rows.load(connection, job_id)

    def source(self, source_id: str) -> SourceSpec:
        with reading(self._engine) as connection:
            return source_spec(connection, self._box, source_id)

    def target(self, target_id: str) -> TargetSpec:
        with reading(self._engine) as connection:
            return target_spec(connection, self._box, target_id)

    def disk_keys(self, job_id: str) -> dict[str, str]:
        with reading(self._engine) as connection:
            return disk_keys.of_job(connection, self._box, job_id)

    def sharing_pool(self, job_id: str) -> list[Job]:
        with reading(self._engine) as connection:
            job = rows.load(connection, job_id)
            return rows.sharing_pool(connection, job.target_id, job.options.pool)

    def transition(
        self, job_id: str, to: JobState, *, error: dict[str, Any] | None = None, leftovers: Sequence[Leftover] = ()
    ) -> Job:
        return self._move(job_id, lambda job: lifecycle.move(job, to, rows.now(), error=error, leftovers=leftovers))

    def step_started(self, job_id: str, step: str) -> int:
        with writing(self._engine) as connection:
            job = lifecycle.start_step(rows.load(connection, job_id, lock=True), step, rows.now())
            rows.save(connection, job)
            attempt = next(item.attempts for item in job.steps if item.name == step)
            again = f" (attempt {attempt})" if attempt > 1 else ""
            data = {"step": step, "state": "running", "attempt": attempt}
            rows.add_event(connection, job_id, "job.step", f"{step} started{again}", data=data)
            return attempt

    def step_ended(
        self, job_id: str, step: str, state: str, *, error: dict[str, Any] | None = None, detail: str = ""
    ) -> None:
        with writing(self._engine) as connection:
            job = rows.load(connection, job_id, lock=True)
            rows.save(connection, lifecycle.end_step(job, step, state, rows.now(), error=error, detail=detail))
            said = detail or (error or {}).get("message", "")
            rows.add_event(
                connection,
                job_id,
                "job.step",
                f"{step} {state}" + (f": {said}" if said else ""),
                level="error" if state == "failed" else "info",
                data={"step": step, "state": state, "error": error},
            )

    def record(self, job_id: str, **changes: Any) -> Job:
        return self._change(job_id, lambda job: lifecycle.record(job, changes))

    def progress(self, job_id: str, disks: Sequence[DiskProgress], rate: float | None, eta_s: float | None) -> None:
        with writing(self._engine) as connection:
            job = lifecycle.with_progress(rows.load(connection, job_id, lock=True), disks, rate, eta_s)
            rows.save(connection, job)
            data = {"progress": job.progress.to_dict(), "disks": [disk.to_dict() for disk in job.disks]}
            rows.add_event(connection, job_id, "job.progress", "", level="debug", data=data)

    def keep(self, job_id: str, artefact: Artefact) -> None:
        self._change(job_id, lambda job: lifecycle.keep(job, artefact))

    def drop(self, job_id: str, kind: str, name: str) -> None:
        self._change(job_id, lambda job: lifecycle.drop(job, kind, name))

    def event(self, job_id: str, kind: str, message: str, *, level: str = "info", **data: Any) -> None:
        with writing(self._engine) as connection:
            rows.add_event(connection, job_id, kind, message, level=level, data=data)

    def asked(self, job_id: str) -> Asked:
        query = sa.select(jobs.c.state, jobs.c.stop_requested, jobs.c.pause).where(jobs.c.id == job_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise rows.no_job(job_id)
        return Asked(JobState(row.state), row.stop_requested, row.pause is not None)

    def limits(self, job_id: str) -> list[ScopedLimit]:
        with reading(self._engine) as connection:
            return limits.of_job(connection, job_id)

    def rest(self, job_id: str, step: str, *, room: Pause | None = None, error: dict[str, Any] | None = None) -> Job:
        return self._move(job_id, lambda job: lifecycle.rest(job, step, rows.now(), room=room, error=error))

    def wake(self, job_id: str) -> Job:
        return self._move(job_id, lambda job: lifecycle.wake(job, rows.now()))

    def _move(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        with writing(self._engine) as connection:
            before = rows.load(connection, job_id, lock=True)
            return rows.save_state(connection, before, change(before))

    def _change(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        with writing(self._engine) as connection:
            return rows.save(connection, change(rows.load(connection, job_id, lock=True)))
