"""A plan in a service, its jobs moved by hand through what a worker would do."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.domain.plan import Item, ItemState, Plan, Wave
from app.domain.plan_run import Change
from app.domain.states import JobState
from app.services.plan_runner import PlanRunner
from tests.functional.api import GIB, Service

NOW = datetime(2026, 12, 5, 22, 0, tzinfo=UTC)


def item(number: int, **changes: Any) -> Item:
    """Of guest1, guest2, … of Service.register."""
    fields: dict[str, Any] = {
        "key": key(number),
        "place": number,
        "source": "lab",
        "vm_id": f"vm-{number}",
        "vm_name": f"guest{number}",
        "target": "here",
        "bytes": 2 * GIB,
    }
    return Item.model_validate(fields | changes)


def key(number: int) -> str:
    return f"vcenter-uuid:vm-{number}"


@dataclass
class Running:
    """`look` is what a worker's loop does, `end` what it does to jobs."""

    api: Service
    plan_id: str
    places: int = 100
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.runner = PlanRunner(self.api.store, places=self.places, now=lambda: self.now)

    @property
    def plan(self) -> Plan:
        return self.api.store.plans.get(self.plan_id)

    @property
    def state(self) -> str:
        return self.plan.state

    def ask(self, verb: Callable[..., Change], *args: Any, **named: Any) -> Plan:
        return self.api.store.plans.change(
            self.plan_id, lambda plan, entries: verb(plan, entries, self.now, *args, **named)
        )

    def look(self, *, times: int = 1) -> dict[str, ItemState]:
        for _ in range(times):
            self.runner.look()
        return self.states()

    def states(self) -> dict[str, ItemState]:
        return {entry.name: entry.state for entry in self.api.store.plans.standing(self.plan_id)[1]}

    def item(self, number: int) -> Item:
        [found] = self.api.store.plans.items(self.plan_id, keys=[key(number)])
        return found

    def end(self, number: int, *path: JobState) -> None:
        """What a worker does to the job of an item, waiting ones being admitted first."""
        self.api.admit()
        for state in path:
            self.api.store.jobs.transition(self.item(number).job, state)


def running(api: Service, *items: Item, waves: tuple[Wave, ...] = (Wave(name="1"),), places: int = 100) -> Running:
    """A plan that was made; start it with `ask`."""
    plan = Plan(id=secrets.token_hex(6), name="weekend", waves=waves, created_at=NOW, updated_at=NOW)
    return Running(api, api.store.plans.save(plan, items).id, places)
