"""Work for a worker that is not a job, as users ask for it; workers.py claims and ends it."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from app.domain.errors import NotFound
from app.domain.job import Operation
from app.store import rows
from app.store.engine import reading, writing
from app.store.tables import operations
from app.store.workers import to_operation

Kind = Literal["check_source", "refresh_inventory", "check_target"]


class Operations:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def ask(self, kind: Kind, subject_id: str) -> Operation:
        """A new operation, or the one that waits for the same already."""
        with writing(self._engine) as connection:
            same = sa.select(operations).where(
                operations.c.kind == kind, operations.c.subject_id == subject_id, operations.c.state == "queued"
            )
            if row := connection.execute(same).first():
                return to_operation(row)
            made = Operation(id=rows.new_id(), kind=kind, subject_id=subject_id, created_at=rows.now())
            connection.execute(operations.insert().values(**dict(made), executor=""))
            return made

    def get(self, operation_id: str) -> Operation:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(operations).where(operations.c.id == operation_id)).one_or_none()
        if row is None:
            raise NotFound(f"no operation {operation_id}")
        return to_operation(row)

    def newest(self, *, limit: int) -> list[Operation]:
        with reading(self._engine) as connection:
            query = sa.select(operations).order_by(operations.c.created_at.desc(), operations.c.id)
            return [to_operation(row) for row in connection.execute(query.limit(limit))]
