"""Jobs and events as rows: shared by what workers write (jobs.py) and what users ask for (requests.py)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, NotFound
from app.domain.job import Event, Job
from app.domain.lifecycle import holds_vm
from app.domain.space import WRITERS
from app.domain.states import JobState
from app.store.disk_keys import THROUGH, forget
from app.store.tables import Moment, events, jobs, targets

_OURS = {"vm_key", "active_key", "admitted", "waiting_since"}  # columns that a Job does not show
_BAD = (JobState.FAILED, JobState.ROLLBACK_FAILED)
_FIELDS = [column for column in jobs.columns if column.name not in _OURS]


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """12 hexadecimal digits: safe in file names, URLs and libvirt names."""
    return secrets.token_hex(6)


def to_job(row: sa.Row[Any]) -> Job:
    return Job.model_validate({column.name: row._mapping[column.name] for column in _FIELDS})


def _values(job: Job) -> dict[str, Any]:
    plain = job.model_dump(mode="json")
    return {c.name: getattr(job, c.name) if isinstance(c.type, Moment) else plain[c.name] for c in _FIELDS}


def load(connection: sa.Connection, job_id: str, *, lock: bool = False) -> Job:
    """Raises NotFound. With `lock` the row is ours until the transaction ends."""
    query = sa.select(jobs).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise no_job(job_id)
    return to_job(row)


def sharing_pool(connection: sa.Connection, target_id: str, pool: str = "") -> list[Job]:
    """Jobs that may still write to a pool of a target, under whichever name it is registered, oldest first.

    `pool`: "" is the target's own.
    """
    mine = sa.select(targets.c.uri, targets.c.pool).where(targets.c.id == target_id).subquery()
    wanted = sa.literal(pool) if pool else mine.c.pool
    used = sa.func.coalesce(sa.func.nullif(jobs.c.options["pool"].as_string(), ""), targets.c.pool)
    same = sa.and_(targets.c.uri == mine.c.uri, used == wanted)
    query = sa.select(jobs).join(targets, targets.c.id == jobs.c.target_id).join(mine, same)
    query = query.where(jobs.c.state.in_(WRITERS))
    return [to_job(row) for row in connection.execute(query.order_by(jobs.c.created_at, jobs.c.id))]


def no_job(job_id: str) -> NotFound:
    return NotFound(f"no job {job_id}", "List them: GET /v1/jobs.")


def insert(connection: sa.Connection, job: Job, vm_key: str) -> None:
    """Raises Conflict while another job holds the VM."""
    with _one_per_vm(connection, job, vm_key):
        connection.execute(
            jobs.insert().values(
                **_values(job), vm_key=vm_key, active_key=vm_key, admitted=False, waiting_since=job.created_at
            )
        )
    add_event(connection, job.id, "job.state", f"{job.vm_name}: {job.state}", data={"state": job.state})


def save(connection: sa.Connection, job: Job, **ours: Any) -> Job:
    """Write a job back; the VM is held or released as its state says. Raises Conflict when another job took it."""
    vm_key = connection.execute(sa.select(jobs.c.vm_key).where(jobs.c.id == job.id)).scalar_one()
    with _one_per_vm(connection, job, vm_key):
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job.id)
            .values(**_values(job), active_key=vm_key if holds_vm(job) else None, **ours)
        )
    return job


def save_state(connection: sa.Connection, before: Job, after: Job, **ours: Any) -> Job:
    """Write a job back and tell of a change of its state, in one transaction."""
    save(connection, after, **ours)
    if after.state in THROUGH:
        forget(connection, after.id)
    if after.state is not before.state:
        why = after.pause.detail if after.pause else ""
        add_event(
            connection,
            after.id,
            "job.state",
            f"{after.vm_name}: {before.state} → {after.state}" + (f": {why}" if why else ""),
            level="error" if after.state in _BAD else "warning" if why else "info",
            data={"state": after.state, "from": before.state, "run": after.run, "error": after.error},
        )
    return after


def add_event(
    connection: sa.Connection,
    job_id: str,
    kind: str,
    message: str,
    *,
    level: str = "info",
    data: Mapping[str, Any] | None = None,
    plan_id: str = "",
) -> None:
    """What is about a job is about its plan, too."""
    of_job = sa.select(jobs.c.plan_id).where(jobs.c.id == job_id).scalar_subquery()
    connection.execute(
        events.insert().values(
            at=now(),
            job_id=job_id,
            plan_id=plan_id or (sa.func.coalesce(of_job, "") if job_id else ""),
            kind=kind,
            level=level,
            message=message,
            data=dict(data or {}),
        )
    )


def to_event(row: sa.Row[Any]) -> Event:
    return Event.model_validate(dict(row._mapping))


@contextmanager
def _one_per_vm(connection: sa.Connection, job: Job, vm_key: str) -> Iterator[None]:
    try:
        with connection.begin_nested():
            yield
    except IntegrityError as error:
        row = connection.execute(sa.select(jobs).where(jobs.c.active_key == vm_key)).one_or_none()
        if row is None:
            raise
        raise vm_is_taken(job.vm_name, to_job(row)) from error


def vm_is_taken(vm_name: str, holder: Job) -> Conflict:
    """What a second job of a VM is told."""
    remedy = "Wait until it has ended, or cancel it."
    if holder.state is JobState.FAILED:
        remedy = f"It keeps the copied disks: retry job {holder.id} or roll it back."
    elif holder.state is JobState.ROLLBACK_FAILED:
        remedy = f"Something of it is left over: roll job {holder.id} back again."
    return Conflict(
        f"{vm_name} belongs to job {holder.id}, which is {holder.state}", remedy, code="vm_has_job", job=holder.id
    )
