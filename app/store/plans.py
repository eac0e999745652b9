"""Plans: as users make them, as they run, and what a look at them decides, each change in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.domain import lifecycle
from app.domain.errors import Conflict, NotFound, VmferryError
from app.domain.job import Job, JobGlance, JobSummary
from app.domain.plan import Item, Plan, PlanState
from app.domain.plan_run import Change
from app.domain.plan_state import MOVING, Entry, is_locked, vms_text
from app.domain.plan_verbs import replanned
from app.store import plan_rows, requests, rows
from app.store.engine import reading, writing
from app.store.paging import Page, PageRequest, fetch
from app.store.secretbox import SecretBox
from app.store.tables import events, jobs, plan_items, plans

Verb = Callable[[Plan, Sequence[Entry]], Change]
Ready = Mapping[tuple[str, ...], Mapping[str, Job | None]]  # unit → key → its job, None: the one that it has
_NOTHING_TO_DO = ("job.progress", "job.step", "job.log")
_ACTIVE = (PlanState.RUNNING, PlanState.PAUSED, PlanState.UNDOING)


class Plans:
    def __init__(self, engine: sa.Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    def list(self, request: PageRequest, *, states: Sequence[PlanState] = ()) -> Page[Plan]:
        query = sa.select(plans)
        if states:
            query = query.where(plans.c.state.in_(states))
        sorts = {"created_at": plans.c.created_at, "name": plans.c.name, "state": plans.c.state}
        make, unique = plan_rows.to_plan, [plans.c.id]
        with reading(self._engine) as connection:
            return fetch(connection, query, request, sorts=sorts, default="-created_at", unique=unique, make=make)

    def get(self, ref: str) -> Plan:
        """By id or name. Raises NotFound."""
        with reading(self._engine) as connection:
            return plan_rows.load(connection, ref)

    def items(self, plan_id: str, *, keys: Collection[str] = (), wave: str = "") -> Sequence[Item]:
        """All, those of `keys`, or of one wave, in their order."""
        with reading(self._engine) as connection:
            return plan_rows.items(connection, plan_id, keys=keys, wave=wave)

    def jobs_of(self, plan_id: str, only: Collection[str] = ()) -> dict[str, JobSummary]:
        """The newest job of each item that was started, or those of the ids `only`, by the job's id."""
        with reading(self._engine) as connection:
            return plan_rows.summaries(connection, plan_id, only)

    def glances(self, plan_id: str) -> dict[str, JobGlance]:
        with reading(self._engine) as connection:
            return plan_rows.glances(connection, plan_id)

    def planned_elsewhere(self, plan_id: str, keys: Sequence[str]) -> Sequence[tuple[str, str]]:
        """(name of another plan that has not ended, key of an item that it shall still start), of these keys."""
        query = (
            sa.select(plans.c.name, plan_items.c.key)
            .join(plans, plans.c.id == plan_items.c.plan_id)
            .where(plans.c.id != plan_id, plans.c.state.in_((PlanState.DRAFT, *_ACTIVE)))
            .where(plan_items.c.include, plan_items.c.job == "")
            .order_by(plans.c.name, plan_items.c.key)
        )
        with reading(self._engine) as connection:
            parts = (connection.execute(query.where(plan_items.c.key.in_(some))) for some in _in_parts(keys))
            return [(row.name, row.key) for part in parts for row in part]

    def standing(self, ref: str) -> tuple[Plan, Sequence[Entry]]:
        """The plan and where its items stand, as of one moment. Raises NotFound."""
        with reading(self._engine) as connection:
            plan = plan_rows.load(connection, ref)
            return plan, plan_rows.entries(connection, plan.id)

    def save(self, plan: Plan, items: Sequence[Item], *, expected: int | None = None) -> Plan:
        """Make a plan, or replace what is planned; answers it as it is now. What a run knows of it stays.

        With nothing changed, its version stays. Raises Conflict plan_changed when it is not at version `expected`, or
        when an item that an import must leave as it is would be changed; Conflict plan_exists for a name in use.
        """
        with writing(self._engine) as connection:
            there = connection.execute(sa.select(plans).where(plans.c.id == plan.id).with_for_update()).one_or_none()
            if there is None:
                made = plan.model_copy(
                    update={
                        "version": 1,
                        "state": PlanState.DRAFT,
                        "waves": tuple(wave.as_planned() for wave in plan.waves),
                    }
                )
                with _unique_name(made.name):
                    connection.execute(plans.insert().values(**plan_rows.plan_values(made)))
                self._insert(connection, made, items)
                plan_rows.tell(connection, made, "plan.made", f"plan {made.name}: {len(items)} VMs")
                return made
            return self._replace(connection, plan_rows.to_plan(there), plan, items, expected)

    def change(self, ref: str, verb: Verb) -> Plan:
        """Carry out what `verb` makes of the plan as it is, and answer it. Raises NotFound, and what `verb` raises."""
        with writing(self._engine) as connection:
            before = plan_rows.load(connection, ref, lock=True)
            return self._write(connection, before, verb(before, plan_rows.entries(connection, before.id)))

    def advance(
        self,
        plan_id: str,
        look: Verb,
        ready: Ready,
        refused: Mapping[str, VmferryError],
    ) -> Plan:
        """Look again under the lock, write what that decides, and start of it what is `ready`.

        A unit of which another job holds a VM, or one whose source or target is
        gone, is not started, and the item tells why, as those of `refused` do. A job and its item are written in one
        transaction: whoever is killed leaves both or neither.
        """
        with writing(self._engine) as connection:
            before = plan_rows.load(connection, plan_id, lock=True)
            change = look(before, plan_rows.entries(connection, plan_id))
            after = self._write(connection, before, change)
            for unit in change.start:
                for key in unit:
                    if key in refused:
                        self._refuse(connection, after, key, refused[key])
                if unit in ready:
                    self._start(connection, after, ready[unit])
            return after

    def active(self) -> Sequence[str]:
        """Ids of plans that a look may change: those that run, those with least under way first, and those of which
        somebody moves a job after their end.
        """
        counted = sa.select(jobs.c.plan_id, sa.func.count().label("moving")).where(
            jobs.c.plan_id != "", jobs.c.state.in_(MOVING)
        )
        by_plan = counted.group_by(jobs.c.plan_id).subquery()
        query = (
            sa.select(plans.c.id)
            .outerjoin(by_plan, by_plan.c.plan_id == plans.c.id)
            .where(sa.or_(plans.c.state.in_(_ACTIVE), by_plan.c.moving > 0))
            .order_by(sa.func.coalesce(by_plan.c.moving, 0), plans.c.started_at, plans.c.id)
        )
        with reading(self._engine) as connection:
            return [row.id for row in connection.execute(query)]

    def happened(self, plan_id: str, after: int) -> bool:
        """Whether anything was told since the event `after` that a look may have to act upon."""
        query = sa.select(events.c.id).where(
            events.c.plan_id == plan_id, events.c.id > after, events.c.kind.not_in(_NOTHING_TO_DO)
        )
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def remove(self, ref: str) -> None:
        """Its jobs stay. Raises NotFound, and Conflict while something of it moves."""
        with writing(self._engine) as connection:
            plan = plan_rows.load(connection, ref, lock=True)
            if moving := [entry for entry in plan_rows.entries(connection, plan.id) if entry.state in MOVING]:
                raise Conflict(
                    f"{len(moving)} VMs of plan {plan.name} are under way",
                    "Cancel it, or pause it and wait until they have ended.",
                    code="plan_moves",
                )
            connection.execute(plans.delete().where(plans.c.id == plan.id))
            plan_rows.tell(connection, plan, "plan.removed", f"plan {plan.name} was removed")

    # ---- within a transaction

    def _insert(self, connection: sa.Connection, plan: Plan, items: Sequence[Item]) -> None:
        if items:
            connection.execute(
                plan_items.insert(), [{"plan_id": plan.id, **plan_rows.item_values(item)} for item in items]
            )

    def _replace(
        self, connection: sa.Connection, before: Plan, wanted: Plan, items: Sequence[Item], expected: int | None
    ) -> Plan:
        if expected is not None and expected != before.version:
            raise _changed(f"plan {before.name} is at version {before.version}, not {expected}")
        there = {item.key: item for item in plan_rows.items(connection, before.id)}
        run = {key: {name: getattr(item, name) for name in plan_rows.RUN_FIELDS} for key, item in there.items()}
        new = {item.key: item.model_copy(update=run.get(item.key, {})) for item in items}
        differs = {key for key in there.keys() | new.keys() if there.get(key) != new.get(key)}
        for entry in plan_rows.entries(connection, before.id):
            if entry.key in differs and is_locked(entry.state):
                raise _changed(f"{entry.name} of plan {before.name} is {entry.state.replace('_', ' ')}")
        after = before.model_copy(
            update={
                "name": wanted.name,
                "description": wanted.description,
                "waves": tuple(wave.instead_of(before.wave(wave.name)) for wave in wanted.waves),
            }
        )
        if after == before and not differs:
            return before
        for some in _in_parts(sorted(differs & there.keys())):
            connection.execute(plan_items.delete().where(plan_items.c.plan_id == before.id, plan_items.c.key.in_(some)))
        self._insert(connection, before, [item for key, item in new.items() if key in differs])
        after = after.model_copy(update={"version": before.version + 1, "updated_at": rows.now()})
        after = replanned(after, plan_rows.entries(connection, before.id))
        plan_rows.tell(connection, after, "plan.changed", f"plan {after.name} was changed", version=after.version)
        return self._save(connection, before, after)

    def _write(self, connection: sa.Connection, before: Plan, change: Change) -> Plan:
        """All that a change says but what it starts."""
        if change.hold:
            values = [{"of_key": key, "why": why} for key, why in change.hold.items()]
            connection.execute(_update(before.id).values(held=sa.bindparam("why")), values)
            whose = next(iter(change.hold.values()))
            text = f"{vms_text(len(values))} not started: {whose}" + (", or another reason" if len(values) > 1 else "")
            plan_rows.tell(connection, before, "plan.held", text, level="warning", keys=sorted(change.hold)[:100])
        if change.again:
            fresh = _update(before.id).values(
                held="", error=None, unit="", forgiven=0, again=sa.func.coalesce(_run_of_its_job(), 0)
            )
            connection.execute(fresh, [{"of_key": key} for key in change.again])
            text = f"{vms_text(len(change.again))} go again"
            plan_rows.tell(connection, before, "plan.retry", text, keys=sorted(change.again)[:100])
        if change.forgive:
            passed = _update(before.id).values(forgiven=sa.func.coalesce(_run_of_its_job(), 1))
            connection.execute(passed, [{"of_key": key} for key in change.forgive])
        for keys, verb in ((change.cancel, lifecycle.cancel), (change.undo, lifecycle.roll_back)):
            for key in keys:
                self._ask(connection, before, key, verb)
        return self._save(connection, before, change.plan)

    def _save(self, connection: sa.Connection, before: Plan, after: Plan) -> Plan:
        if after != before:
            with _unique_name(after.name):
                connection.execute(plans.update().where(plans.c.id == after.id).values(**plan_rows.plan_values(after)))
        if after.state is not before.state or after.reason != before.reason:
            text = f"plan {after.name}: {after.state}" + (f": {after.reason}" if after.reason else "")
            level = "error" if after.state is PlanState.FAILED else "warning" if after.reason else "info"
            data = {"state": after.state, "from": before.state, "reason": after.reason}
            plan_rows.tell(connection, after, "plan.state", text, level=level, **data)
        for wave in after.waves:
            if wave.approved_at and (old := before.wave(wave.name)) and not old.approved_at:
                plan_rows.tell(connection, after, "plan.approved", f"wave {wave.name} was approved", wave=wave.name)
        return after

    def _ask(self, connection: sa.Connection, plan: Plan, key: str, verb: Callable[[Job, Any], Job]) -> None:
        """What cannot be undone, for its source is registered no longer, is let be, and bound to no others."""
        item = plan_rows.items(connection, plan.id, keys=[key])[0]
        try:
            requests.ask(connection, item.job, lambda job: verb(job, rows.now()))
        except NotFound as error:
            connection.execute(_update(plan.id).values(unit=""), [{"of_key": key}])
            text = f"{item.vm_name} is left as it is: {error.message}"
            plan_rows.tell(connection, plan, "plan.item", text, level="error", key=key, error=error.to_dict())

    def _start(self, connection: sa.Connection, plan: Plan, unit: Mapping[str, Job | None]) -> None:
        name = rows.new_id() if len(unit) > 1 else ""
        key = ""
        try:
            with connection.begin_nested():
                for key, job in unit.items():
                    self._start_one(connection, plan, key, job, name)
        except (Conflict, NotFound) as error:
            self._refuse(connection, plan, key, error)

    def _start_one(self, connection: sa.Connection, plan: Plan, key: str, job: Job | None, unit: str) -> None:
        if job is not None:
            requests.submit(connection, self._box, job)
            job_id = job.id
        else:
            job_id = plan_rows.items(connection, plan.id, keys=[key])[0].job
            requests.ask(connection, job_id, lifecycle.retry)
        values = {"job": job_id, "unit": unit, "again": 0, "forgiven": 0, "error": None}
        connection.execute(_update(plan.id).values(**values), [{"of_key": key}])

    def _refuse(self, connection: sa.Connection, plan: Plan, key: str, error: VmferryError) -> None:
        item = plan_rows.items(connection, plan.id, keys=[key])[0]
        connection.execute(_update(plan.id).values(error=error.to_dict(), forgiven=0), [{"of_key": key}])
        text = f"{item.vm_name} was not started: {error.message}"
        plan_rows.tell(connection, plan, "plan.item", text, level="error", key=key, error=error.to_dict())


def _update(plan_id: str) -> sa.Update:
    """Of the item `of_key`."""
    return plan_items.update().where(plan_items.c.plan_id == plan_id, plan_items.c.key == sa.bindparam("of_key"))


def _run_of_its_job() -> sa.ScalarSelect[Any]:
    return sa.select(jobs.c.run).where(jobs.c.id == plan_items.c.job).scalar_subquery()


def _in_parts(keys: Sequence[str], most: int = 500) -> list[Sequence[str]]:
    return [keys[start : start + most] for start in range(0, len(keys), most)]


def _changed(what: str) -> Conflict:
    return Conflict(what, "It was changed meanwhile: look at it as it is now, and repeat.", code="plan_changed")


@contextmanager
def _unique_name(name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise Conflict(
            f"a plan named {name} is there already", "Update it, or choose another name.", code="plan_exists"
        ) from error
