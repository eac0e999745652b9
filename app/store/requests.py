"""What users ask of jobs: submit, list, pause, cancel, retry, roll back. What workers write is in jobs.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from app.domain import lifecycle
from app.domain.errors import NotFound
from app.domain.job import Job
from app.domain.limits import ScopedLimit
from app.domain.states import JobState
from app.store import disk_keys, limits, rows
from app.store.engine import reading, writing
from app.store.paging import Page, PageRequest, fetch
from app.store.secretbox import SecretBox
from app.store.tables import jobs, sources, targets


class JobRequests:
    def __init__(self, engine: sa.Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    def submit(self, job: Job, limit: ScopedLimit | None = None, keys: Mapping[str, str] | None = None) -> Job:
        """Raises Conflict while another job holds the VM, on whichever registration of its platform."""
        with writing(self._engine) as connection:
            submit(connection, self._box, job, limit, keys)
        return job

    def sharing_pool(self, target_id: str, pool: str = "") -> list[Job]:
        """As rows.sharing_pool."""
        with reading(self._engine) as connection:
            return rows.sharing_pool(connection, target_id, pool)

    def list(
        self,
        request: PageRequest,
        *,
        states: Sequence[JobState] = (),
        source: str = "",
        target: str = "",
        vm: str = "",
    ) -> Page[Job]:
        """`source`, `target` and `vm` are ids or names."""
        query = sa.select(jobs)
        if states:
            query = query.where(jobs.c.state.in_(states))
        for ref, columns in (
            (source, (jobs.c.source_id, jobs.c.source_name)),
            (target, (jobs.c.target_id, jobs.c.target_name)),
            (vm, (jobs.c.vm_id, jobs.c.vm_name)),
        ):
            if ref:
                query = query.where(sa.or_(*(column == ref for column in columns)))
        sorts = {"created_at": jobs.c.created_at, "vm": jobs.c.vm_name, "state": jobs.c.state}
        with reading(self._engine) as connection:
            return fetch(
                connection, query, request, sorts=sorts, default="-created_at", unique=[jobs.c.id], make=rows.to_job
            )

    def holders(self) -> dict[str, str]:
        """VMs that a job holds, as "<source's platform>:<vm id>" → the job's id."""
        query = sa.select(jobs.c.active_key, jobs.c.id).where(jobs.c.active_key.is_not(None))
        with reading(self._engine) as connection:
            return {row.active_key: row.id for row in connection.execute(query)}

    def count(self, states: Sequence[JobState]) -> int:
        with reading(self._engine) as connection:
            query = sa.select(sa.func.count()).where(jobs.c.state.in_(states))
            return connection.execute(query).scalar_one()

    def pause(self, job_id: str) -> Job:
        return self._ask(job_id, lambda job: lifecycle.pause(job, rows.now()))

    def resume(self, job_id: str) -> Job:
        return self._ask(job_id, lambda job: lifecycle.resume(job, rows.now()))

    def cancel(self, job_id: str) -> Job:
        return self._ask(job_id, lambda job: lifecycle.cancel(job, rows.now()))

    def retry(self, job_id: str) -> Job:
        return self._ask(job_id, lifecycle.retry)

    def roll_back(self, job_id: str) -> Job:
        return self._ask(job_id, lambda job: lifecycle.roll_back(job, rows.now()))

    def _ask(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        with writing(self._engine) as connection:
            return ask(connection, job_id, change)


def submit(
    connection: sa.Connection,
    box: SecretBox,
    job: Job,
    limit: ScopedLimit | None = None,
    keys: Mapping[str, str] | None = None,
) -> None:
    """Raises Conflict while another job holds the VM, NotFound where an end of the job is registered no longer."""
    rows.insert(connection, job, f"{_identity(connection, job)}:{job.vm_id}")
    if limit is not None:
        limits.put(connection, limit)
    disk_keys.put(connection, box, job.id, keys or {})


def ask(connection: sa.Connection, job_id: str, change: Callable[[Job], Job]) -> Job:
    """Make a change that a user wants of a job, and tell of it. Raises Conflict, NotFound."""
    before = rows.load(connection, job_id, lock=True)
    after = change(before)
    ours: dict[str, Any] = {}
    if after.run != before.run:
        _identity(connection, after)
        ours = {"admitted": False, "waiting_since": rows.now()}
    if after.stop_requested and not before.stop_requested:
        rows.add_event(connection, job_id, "job.stop", f"{after.vm_name}: asked to stop")
    if after.state is before.state and after.pause != before.pause:
        wish = "pause" if after.pause else "run on"
        rows.add_event(connection, job_id, "job.pause", f"{after.vm_name}: asked to {wish}")
    return rows.save_state(connection, before, after, **ours)


def _identity(connection: sa.Connection, job: Job) -> str:
    """The source platform's own id, and that both ends are still registered. Raises NotFound."""
    identity = connection.execute(sa.select(sources.c.identity).where(sources.c.id == job.source_id)).scalar()
    target = connection.execute(sa.select(targets.c.id).where(targets.c.id == job.target_id)).scalar()
    if identity is None or target is None:
        gone = f"source {job.source_name}" if identity is None else f"target {job.target_name}"
        raise NotFound(f"{gone} of this job is no longer registered", "A new registration has a new id: submit anew.")
    return identity or job.source_id
