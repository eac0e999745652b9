"""Plans and their items as rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from app.domain.errors import NotFound
from app.domain.job import JobGlance, JobSummary, Pause
from app.domain.models import Progress
from app.domain.plan import Item, Plan
from app.domain.plan_state import Entry, state_of
from app.domain.states import JobState
from app.store import rows
from app.store.tables import Moment, jobs, plan_items, plans

RUN_FIELDS = frozenset({"job", "unit", "held", "error", "again", "forgiven"})  # of an Item: not an import's
_SUMMARY = [jobs.c[name] for name in JobSummary.model_fields if name != "on_failure"]
_ENTRY: sa.Select[Any] = sa.select(
    *(plan_items.c[name] for name in ("key", "vm_name", "place", "include", "wave", "order", "cutover_at", "group")),
    *(plan_items.c[name] for name in ("depends_on", "unit", "again", "forgiven", "bytes")),
    (plan_items.c.held != "").label("held"),
    plan_items.c.error.is_not(sa.null()).label("refused"),
    plan_items.c.job.label("job_id"),
    *(jobs.c[name] for name in ("state", "run", "stop_requested", "purpose")),
).outerjoin(jobs, jobs.c.id == plan_items.c.job)


def load(connection: sa.Connection, ref: str, *, lock: bool = False) -> Plan:
    """By id, else by name. Raises NotFound. With `lock` the row is ours until the transaction ends."""
    query = sa.select(plans)
    for column in (plans.c.id, plans.c.name):
        found = query.where(column == ref)
        if row := connection.execute(found.with_for_update() if lock else found).one_or_none():
            return to_plan(row)
    raise NotFound(f"no plan {ref}", "List them: GET /v1/plans.", code="plan_not_found")


def to_plan(row: sa.Row[Any]) -> Plan:
    return Plan.model_validate(dict(row._mapping))


def plan_values(plan: Plan) -> dict[str, Any]:
    plain = plan.model_dump(mode="json")
    return {c.name: getattr(plan, c.name) if isinstance(c.type, Moment) else plain[c.name] for c in plans.columns}


def to_item(row: sa.Row[Any]) -> Item:
    return Item.model_validate({name: row._mapping[name] for name in Item.model_fields})


def item_values(item: Item) -> dict[str, Any]:
    return item.model_dump(mode="json") | {"cutover_at": item.cutover_at}


def items(connection: sa.Connection, plan_id: str, *, keys: Collection[str] = (), wave: str = "") -> list[Item]:
    query = sa.select(plan_items).where(plan_items.c.plan_id == plan_id).order_by(plan_items.c.place, plan_items.c.key)
    if keys:
        query = query.where(plan_items.c.key.in_(keys))
    if wave:
        query = query.where(plan_items.c.wave == wave)
    return [to_item(row) for row in connection.execute(query)]


def entries(connection: sa.Connection, plan_id: str) -> list[Entry]:
    """What deciding needs of all items, in their order: narrow, for it is read again and again."""
    query = _ENTRY.where(plan_items.c.plan_id == plan_id).order_by(plan_items.c.place, plan_items.c.key)
    return [_entry(row) for row in connection.execute(query)]


def _entry(row: sa.Row[Any]) -> Entry:
    job = None if row.state is None else JobState(row.state)
    state = state_of(
        include=row.include, held=row.held, refused=row.refused, again=row.again, job=job, run=row.run or 0
    )
    return Entry(
        key=row.key,
        name=row.vm_name,
        state=state,
        place=row.place,
        wave=row.wave,
        order=row.order,
        cutover_at=row.cutover_at,
        group=row.group,
        depends_on=tuple(row.depends_on),
        unit=row.unit,
        job=job,
        stopping=bool(row.stop_requested),
        undone=row.purpose == "rollback",
        forgiven=row.forgiven == (row.run or 1),
        bytes=row.bytes,
        job_id=row.job_id,
    )


def summaries(connection: sa.Connection, plan_id: str, only: Collection[str] = ()) -> dict[str, JobSummary]:
    """The newest job of each item that has one, or those of the ids `only`, by its id."""
    on_failure = jobs.c.options["on_failure"].as_string().label("on_failure")
    query = sa.select(*_SUMMARY, on_failure).join(plan_items, plan_items.c.job == jobs.c.id)
    if only:
        query = query.where(jobs.c.id.in_(only))
    found = connection.execute(query.where(plan_items.c.plan_id == plan_id))
    return {row.id: JobSummary.model_validate(dict(row._mapping)) for row in found}


def glances(connection: sa.Connection, plan_id: str) -> dict[str, JobGlance]:
    """The same of all, in short."""
    query = sa.select(*(jobs.c[name] for name in ("id", *JobGlance._fields)))
    found = connection.execute(
        query.join(plan_items, plan_items.c.job == jobs.c.id).where(plan_items.c.plan_id == plan_id)
    )
    return {
        row.id: JobGlance(
            Progress.model_validate(row.progress),
            Pause.model_validate(row.pause) if row.pause else None,
            row.started_at,
            row.ended_at,
        )
        for row in found
    }


def tell(connection: sa.Connection, plan: Plan, kind: str, message: str, *, level: str = "info", **data: Any) -> None:
    rows.add_event(connection, "", kind, message, level=level, data=data, plan_id=plan.id)
