"""Reading the append-only table of events."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.job import Event
from app.store import rows
from app.store.engine import reading
from app.store.tables import events


class Events:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def after(
        self, last_id: int, *, job_id: str = "", plan_id: str = "", kind: str = "", limit: int = 100
    ) -> list[Event]:
        """The next events in the order of their ids, of one job and one kind or of all. A plan's with its jobs'."""
        query = sa.select(events).where(events.c.id > last_id).order_by(events.c.id).limit(limit)
        if job_id:
            query = query.where(events.c.job_id == job_id)
        if plan_id:
            query = query.where(events.c.plan_id == plan_id)
        if kind:
            query = query.where(events.c.kind == kind)
        with reading(self._engine) as connection:
            return [rows.to_event(row) for row in connection.execute(query)]

    def newest(self, job_id: str, *, limit: int, up_to: int) -> list[Event]:
        """The last things said of a job up to an event, without its progress, oldest first."""
        query = sa.select(events).where(
            events.c.job_id == job_id, events.c.kind != "job.progress", events.c.id <= up_to
        )
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(events.c.id.desc()).limit(limit)).all()
        return [rows.to_event(row) for row in reversed(found)]

    def rates(self, job_id: str, *, limit: int) -> list[float]:
        """Bytes a second of a job as it told them last, oldest first."""
        rate = events.c.data["progress"]["rate"].as_float()
        query = sa.select(rate).where(events.c.job_id == job_id, events.c.kind == "job.progress", rate.is_not(None))
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(events.c.id.desc()).limit(limit)).scalars().all()
        return list(reversed(found))

    def last_id(self) -> int:
        with reading(self._engine) as connection:
            return connection.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0
