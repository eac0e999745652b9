"""Starts what plans have to start. Every worker looks; what one decides, the store decides again under its lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from app.domain.errors import Conflict, NotFound, TransientError, VmferryError
from app.domain.job import Job
from app.domain.plan import Item, Plan
from app.domain.plan_run import Change, decide, next_moment
from app.domain.plan_state import Entry
from app.domain.states import JobState
from app.services.jobs import Jobs
from app.store import rows
from app.store.store import Store

LOOK_ANYWAY = timedelta(minutes=1)  # also where nothing was told, so that no plan stands still for what was missed
TAKES_A_PLACE = (JobState.QUEUED, JobState.RUNNING, JobState.ROLLING_BACK)


class _Look(NamedTuple):
    """What was known when a plan was looked at, and found to have nothing to do."""

    at: datetime
    event: int  # the newest then
    free: int
    until: datetime  # when time alone may change that


class PlanRunner:
    """`places`: how many jobs workers have under way at once. No more are started than find one: what waits, waits
    in the plan, where a pause, a window or a change of it still counts.
    """

    def __init__(self, store: Store, *, places: int, now: Callable[[], datetime] = rows.now) -> None:
        self._store = store
        self._jobs = Jobs(store)
        self._places = places
        self._now = now
        self._idle: dict[str, _Look] = {}
        self._log = structlog.get_logger("plans")

    def look(self) -> None:
        """Once at each plan that may have something to do. Raises TransientError."""
        active = self._store.plans.active()
        self._idle = {plan_id: look for plan_id, look in self._idle.items() if plan_id in active}
        for plan_id in active:
            try:
                free = self._places - self._store.requests.count(TAKES_A_PLACE)
                if not self._is_idle(plan_id, free):
                    self._look_at(plan_id, free)
            except TransientError:
                raise
            except Exception:  # noqa: BLE001  the top of a loop: a fault in one plan must stop neither the others nor jobs
                self._log.exception("a plan could not be looked at", plan_id=plan_id)

    def _is_idle(self, plan_id: str, free: int) -> bool:
        """Whether nothing can have changed since a look that found nothing to do: to read many items takes long."""
        look = self._idle.get(plan_id)
        if look is None or not look.at <= self._now() < look.until or free > max(0, look.free):
            return False
        return not self._store.plans.happened(plan_id, look.event)

    def _look_at(self, plan_id: str, free: int) -> None:
        self._idle.pop(plan_id, None)

        def look(plan: Plan, entries: Sequence[Entry]) -> Change:
            return decide(plan, entries, self._now(), free)

        try:
            newest, at = self._store.events.last_id(), self._now()
            plan, entries = self._store.plans.standing(plan_id)
            change = look(plan, entries)
            if not change.start and not change.writes(plan):
                until = min(next_moment(plan, entries, at) or at + LOOK_ANYWAY, at + LOOK_ANYWAY)
                self._idle[plan_id] = _Look(at, newest, free, until)
                return
            ready, refused = self._prepare(plan_id, change.start)
            self._store.plans.advance(plan_id, look, ready, refused)
        except NotFound as error:
            self._log.info("a plan was removed meanwhile", plan_id=plan_id, cause=error.message)

    def _prepare(
        self, plan_id: str, units: Sequence[tuple[str, ...]]
    ) -> tuple[dict[tuple[str, ...], dict[str, Job | None]], dict[str, VmferryError]]:
        """The jobs of each unit all of whose VMs can be moved, and why the others cannot, by key."""
        ready: dict[tuple[str, ...], dict[str, Job | None]] = {}
        refused: dict[str, VmferryError] = {}
        for unit in units:
            made: dict[str, Job | None] = {}
            for item in self._store.plans.items(plan_id, keys=unit):
                try:
                    made[item.key] = self._job_of(plan_id, item)
                except TransientError:
                    raise
                except VmferryError as error:
                    refused[item.key] = error
            if made.keys() == set(unit):
                ready[unit] = made
        return ready, refused

    def _job_of(self, plan_id: str, item: Item) -> Job | None:
        """A new job; None where the one that it has failed and can be retried, for nothing else is wanted now."""
        if item.job:
            old = self._store.jobs.job(item.job)
            ends = self._store.sources.get(item.source).id, self._store.targets.get(item.target).id
            same = (old.source_id, old.target_id, old.options) == (*ends, item.options)
            if old.state is JobState.FAILED and same:
                return None
        self._check_identity(item)
        return self._jobs.prepare(item.source, item.vm_id, item.target, item.options, plan_id=plan_id)

    def _check_identity(self, item: Item) -> None:
        """Raise Conflict where the source's name stands for another platform than when the item was planned: its VM
        of that id would be another one.
        """
        source = self._store.sources.get(item.source)
        if item.key not in (f"{source.identity}:{item.vm_id}", f"{source.id}:{item.vm_id}"):
            raise Conflict(
                f"source {item.source} is not the platform that {item.vm_name} was planned from",
                "Import the plan again.",
                code="source_is_another",
            )
