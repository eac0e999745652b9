"""Rows of plans, written as tests need them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.domain.plan import Problem, Wanted, WantedPlan, Wave
from app.services.plan_check import PlanCheck
from app.services.planning.report import Checked
from app.services.planning.rows import Asked, Before
from tests.functional.api import Service

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
NEW = Before()
COLUMNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIELDS = [name for name in Wanted.__dataclass_fields__ if name != "places"]


def row(number: int, **values: Any) -> Wanted:
    """Row `number` of a sheet Plan, with a place for each field."""
    places = {name: f"Plan!{COLUMNS[at]}{number}" for at, name in enumerate(_FIELDS)}
    return Wanted(**values, places={**places, "": f"Plan!{number}"})


def cell(number: int, field: str) -> str:
    return f"Plan!{COLUMNS[_FIELDS.index(field)]}{number}"


def sheet(*rows: Wanted, waves: tuple[Wave, ...] = (), kind: str = "plan") -> WantedPlan:
    places = {
        f"{wave.name}/{field}": f"Waves!{COLUMNS[at]}{number}"
        for number, wave in enumerate(waves, start=2)
        for at, field in enumerate(("name", "starts_at", "ends_at", "at_once"))
    }
    return WantedPlan(kind, rows, waves, places)


def check(
    api: Service,
    *rows: Wanted,
    waves: tuple[Wave, ...] = (),
    before: Before = NEW,
    kind: str = "plan",
    **asked: Any,
) -> Checked:
    return PlanCheck(api.store, slots=2).run(sheet(*rows, waves=waves, kind=kind), Asked(**asked), before, NOW)


def told(checked: Checked) -> list[tuple[str, str, str]]:
    return [(problem.place, problem.severity, problem.code) for problem in checked.problems]


def only(checked: Checked) -> Problem:
    assert len(checked.problems) == 1, checked.problems
    return checked.problems[0]
