"""WorkerStore on SQLAlchemy: heartbeats, admission, operations, and what workers saw of sources and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.domain import lifecycle
from app.domain.job import Beat, Job, Operation
from app.domain.models import VM, Check, TargetFacts
from app.domain.states import JobState
from app.store import rows
from app.store.engine import reading, writing
from app.store.tables import beats, jobs, operations, sources, targets
from app.store.tables import vms as inventory

UNDER_WAY = (JobState.RUNNING, JobState.ROLLING_BACK)
_WAITS = sa.or_(  # a job that was resumed waits though it was admitted before
    jobs.c.state == JobState.QUEUED, sa.and_(jobs.c.state == JobState.ROLLING_BACK, ~jobs.c.admitted)
)


class SqlWorkerStore:
    """app/ports/store.py: WorkerStore."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def beat(self, mine: Beat) -> list[Beat]:
        with writing(self._engine) as connection:
            values = mine.model_dump() | {"at": rows.now()}
            if not connection.execute(
                beats.update().where(beats.c.executor == mine.executor).values(**values)
            ).rowcount:
                connection.execute(beats.insert().values(**values))
            found = connection.execute(sa.select(beats).order_by(beats.c.executor))
            return [Beat.model_validate({name: row._mapping[name] for name in Beat.model_fields}) for row in found]

    def beating(self, within_s: float) -> int:
        """How many workers beat within the last seconds, by this database's writers' clocks: for health/ready."""
        query = sa.select(sa.func.count()).where(~beats.c.left, beats.c.at > rows.now() - timedelta(seconds=within_s))
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one()

    def known(self) -> list[tuple[Beat, datetime]]:
        """Every worker whose heartbeat was not forgotten yet, and when it beat last."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(beats).order_by(beats.c.at.desc())).all()
        return [
            (Beat.model_validate({name: row._mapping[name] for name in Beat.model_fields}), row.at) for row in found
        ]

    def forget(self, executor: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(beats.delete().where(beats.c.executor == executor))
            connection.execute(
                operations.update()
                .where(operations.c.executor == executor, operations.c.state == "running")
                .values(state="queued", executor="")
            )

    def admit(self, limit: int, enqueue: Callable[[sa.Connection, Job], None]) -> list[str]:
        with writing(self._engine) as connection:
            busy = connection.execute(
                sa.select(jobs.c.id).where(jobs.c.state.in_(UNDER_WAY), jobs.c.admitted).with_for_update()
            ).all()
            waiting = connection.execute(
                sa.select(jobs)
                .where(_WAITS)
                .order_by(jobs.c.waiting_since, jobs.c.id)
                .limit(max(0, limit - len(busy)))
                .with_for_update()
            )
            admitted = [(rows.to_job(row), row.admitted) for row in waiting]
            for job, begun in admitted:
                running = job if job.purpose == "rollback" else lifecycle.move(job, JobState.RUNNING, rows.now())
                rows.save_state(connection, job, running, admitted=True)
                if not begun:
                    enqueue(connection, running)
            return [job.id for job, _ in admitted]

    def claim_operation(self, executor: str) -> Operation | None:
        with writing(self._engine) as connection:
            row = connection.execute(
                sa.select(operations)
                .where(operations.c.state == "queued")
                .order_by(operations.c.created_at, operations.c.id)
                .limit(1)
                .with_for_update()
            ).one_or_none()
            if row is None:
                return None
            connection.execute(
                operations.update().where(operations.c.id == row.id).values(state="running", executor=executor)
            )
            return to_operation(row).model_copy(update={"state": "running"})

    def end_operation(
        self, operation_id: str, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                operations.update()
                .where(operations.c.id == operation_id)
                .values(state="failed" if error else "succeeded", result=result, error=error, ended_at=rows.now())
            )

    def save_inventory(self, source_id: str, identity: str, vms: Sequence[VM]) -> None:
        """Replaces what was known; a source that was removed meanwhile is let be."""
        seen_at = rows.now()
        with writing(self._engine) as connection:
            found = connection.execute(
                sources.update().where(sources.c.id == source_id).values(identity=identity, refreshed_at=seen_at)
            )
            if not found.rowcount:
                return
            connection.execute(inventory.delete().where(inventory.c.source_id == source_id))
            lines = [
                {"source_id": source_id, "id": vm.id, "name": vm.name, "body": vm.to_dict(), "seen_at": seen_at}
                for vm in vms
            ]
            if lines:
                connection.execute(inventory.insert(), lines)

    def save_source_checks(self, source_id: str, identity: str, checks: Sequence[Check]) -> None:
        """An empty `identity` (it could not be read) leaves the one that was known."""
        values: dict[str, Any] = {"checks": [check.to_dict() for check in checks], "checked_at": rows.now()}
        if identity:
            values["identity"] = identity
        with writing(self._engine) as connection:
            connection.execute(sources.update().where(sources.c.id == source_id).values(**values))

    def save_target_facts(self, target_id: str, facts: TargetFacts, checks: Sequence[Check]) -> None:
        values = {"facts": facts.to_dict(), "checks": [check.to_dict() for check in checks], "checked_at": rows.now()}
        with writing(self._engine) as connection:
            connection.execute(targets.update().where(targets.c.id == target_id).values(**values))


def to_operation(row: sa.Row[Any]) -> Operation:
    return Operation.model_validate({name: row._mapping[name] for name in Operation.model_fields})
