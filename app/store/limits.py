"""Limits on bytes per second: at most one for the service, each source and each job."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.errors import NotFound
from app.domain.limits import Scope, ScopedLimit, limit_text
from app.domain.states import TERMINAL
from app.store import rows
from app.store.engine import reading, writing
from app.store.paging import Page, PageRequest, fetch
from app.store.tables import jobs, limits


class Limits:
    """`subject` is a source's or a job's id, "" for the service; that it exists is the caller's business."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def list(self, request: PageRequest) -> Page[ScopedLimit]:
        """Those of jobs that have ended are left out."""
        ended = sa.select(jobs.c.id).where(jobs.c.state.in_(TERMINAL))
        query = sa.select(limits).where(sa.or_(limits.c.scope != "job", limits.c.subject.not_in(ended)))
        unique = [limits.c.scope, limits.c.subject]
        with reading(self._engine) as connection:
            return fetch(
                connection,
                query,
                request,
                sorts={"scope": limits.c.scope},
                default="-scope",
                unique=unique,
                make=_limit,
            )

    def get(self, scope: Scope, subject: str) -> ScopedLimit:
        """Raises NotFound where none is set."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(limits).where(_of(scope, subject))).one_or_none()
        if row is None:
            raise NotFound(f"no limit is set for {_name(scope, subject)}", "Bytes are read as fast as they come.")
        return _limit(row)

    def set(self, limit: ScopedLimit) -> None:
        with writing(self._engine) as connection:
            put(connection, limit)

    def clear(self, scope: Scope, subject: str) -> None:
        """To clear what is not set is no error."""
        with writing(self._engine) as connection:
            if connection.execute(limits.delete().where(_of(scope, subject))).rowcount:
                _tell(connection, scope, subject, f"no limit for {_name(scope, subject)} any more")


def put(connection: sa.Connection, limit: ScopedLimit) -> None:
    """Set a limit instead of the one that was there, and tell of it."""
    values = limit.model_dump(mode="json")
    connection.execute(limits.delete().where(_of(limit.scope, limit.subject)))
    connection.execute(limits.insert().values(**values))
    text = f"limit for {_name(limit.scope, limit.subject)}: {limit_text(limit)}"
    _tell(connection, limit.scope, limit.subject, text, values)


def of_job(connection: sa.Connection, job_id: str) -> list[ScopedLimit]:
    """The limits that concern a job: the service's, its source's and its own. Raises NotFound."""
    source = connection.execute(sa.select(jobs.c.source_id).where(jobs.c.id == job_id)).scalar_one_or_none()
    if source is None:
        raise rows.no_job(job_id)
    found = connection.execute(
        sa.select(limits).where(sa.or_(_of("service", ""), _of("source", source), _of("job", job_id)))
    )
    return [_limit(row) for row in found]


def _of(scope: Scope, subject: str) -> sa.ColumnElement[bool]:
    return sa.and_(limits.c.scope == scope, limits.c.subject == subject)


def forget_source(connection: sa.Connection, source_id: str) -> None:
    connection.execute(limits.delete().where(_of("source", source_id)))


def _limit(row: sa.Row[Any]) -> ScopedLimit:
    return ScopedLimit.model_validate(dict(row._mapping))


def _name(scope: Scope, subject: str) -> str:
    return "the service" if scope == "service" else f"{scope} {subject}"


def _tell(connection: sa.Connection, scope: Scope, subject: str, text: str, data: dict[str, Any] | None = None) -> None:
    rows.add_event(connection, subject if scope == "job" else "", "limit", text, data=data)
