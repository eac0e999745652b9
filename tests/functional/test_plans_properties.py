"""What holds for every sheet: the order of rows means nothing, and an import of the same again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.plan import Item, Plan, Wanted, WantedPlan, Wave
from app.services.planning.report import Checked
from app.services.planning.rows import Before
from app.sheets.export import as_wanted
from tests.functional.api import Service, service, vm
from tests.functional.plans import NOW, check, row, sheet

VMS = 8
WAVES = (Wave(name="a", at_once=8), Wave(name="b", starts_at=NOW + timedelta(days=1)), Wave(name="10"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("home")) as api:
        api.register(*(vm(number) for number in range(VMS)))
        yield api


def values(number: int) -> st.SearchStrategy[dict[str, Any]]:
    called = st.sampled_from([{"vm_name": f"guest{number}"}, {"vm_id": f"vm-{number}"}, {"vm_uuid": vm(number).uuid}])
    before = st.lists(st.integers(0, number - 1) if number else st.nothing(), max_size=2 if number else 0, unique=True)
    said = st.fixed_dictionaries(
        {},
        optional={
            "include": st.just(True) if number < VMS - 1 else st.booleans(),
            "order": st.integers(-3, 3),
            "pool": st.just("default"),
            "format": st.sampled_from(["", "qcow2", "RAW"]),
            "strategy": st.sampled_from(["", "cold", "disk only"]),
            "profile": st.sampled_from(["", "balanced"]),
            "target_name": st.just(f"new{number}"),
            "networks": st.just({"VM Network": "default"}),
            "cpus": st.integers(1, 8),
            "memory_bytes": st.integers(1, 64).map(lambda gib: gib << 30),
            "cutover_at": st.integers(2, 9).map(lambda days: NOW + timedelta(days=days)),
            "power_on": st.booleans(),
            "owner": st.text("Ada; =", max_size=5),
            "notes": st.text(max_size=9),
            "depends_on": before.map(lambda numbers: tuple(f"guest{other}" for other in numbers)),
        },
    )
    return st.builds(lambda who, more: {**who, **more}, called, said)


@st.composite
def sheets(draw: st.DrawFn) -> tuple[list[Wanted], tuple[Wave, ...]]:
    """All VMs but a few, in one wave, or in several that the sheet describes or only names."""
    numbers = draw(st.lists(st.integers(0, VMS - 1), unique=True, min_size=1).map(sorted))
    waves = draw(st.sampled_from([(), WAVES]))
    names = [wave.name for wave in WAVES]
    wave = st.sampled_from(names if waves else [*names, ""])
    one = draw(wave)
    rows = [row(2 + at, **{"wave": one, **draw(values(number))}) for at, number in enumerate(numbers)]
    there = {f"guest{number}" for number in numbers}
    rows = [replace(item, depends_on=tuple(name for name in item.depends_on if name in there)) for item in rows]
    return rows, waves


def planned(found: Checked) -> dict[str, Item]:
    assert found.errors == ()
    return {item.key: item.model_copy(update={"place": 0}) for item in found.items}


def stored(found: Checked) -> Before:
    plan = Plan(id="p", name="june", waves=found.waves, created_at=NOW, updated_at=NOW)
    return Before(plan, found.items)


quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(sheets(), st.randoms())
def test_any_order_of_rows_gives_the_same_plan(api: Service, asked: tuple[list[Wanted], Any], chance: Any) -> None:
    rows, waves = asked
    one = check(api, *rows, waves=waves)
    other = check(api, *chance.sample(rows, len(rows)), waves=waves)
    assert planned(one) == planned(other)
    assert one.waves == other.waves
    assert {(d.key, d.change) for d in one.differences} == {(d.key, d.change) for d in other.differences}


@quick
@given(sheets(), st.sampled_from(["plan", "document", "rvtools"]), st.randoms())
def test_the_same_again_changes_nothing(api: Service, asked: tuple[list[Wanted], Any], kind: str, chance: Any) -> None:
    rows, waves = asked
    first = check(api, *rows, waves=waves, kind=kind)
    again = check(api, *chance.sample(rows, len(rows)), waves=waves, kind=kind, before=stored(first))
    assert not again.changes
    assert {item.change for item in again.differences} == {"unchanged"}
    assert planned(again) == planned(first)


@quick
@given(sheets())
def test_what_is_exported_is_what_was_imported(api: Service, asked: tuple[list[Wanted], Any]) -> None:
    rows, waves = asked
    first = check(api, *rows, waves=waves)
    exported = WantedPlan("plan", tuple(as_wanted(first.items)), first.waves)
    again = check(api, *exported.rows, waves=exported.waves, before=stored(first))
    assert (again.changes, again.errors) == (False, ())


@quick
@given(sheets(), st.data())
def test_a_sheet_that_knows_only_names_leaves_the_rest(
    api: Service, asked: tuple[list[Wanted], Any], data: Any
) -> None:
    rows, waves = asked
    first = check(api, *rows, waves=waves)
    some = data.draw(st.lists(st.sampled_from(first.items), unique_by=lambda item: item.key, min_size=1))
    names = [row(2 + at, vm_name=item.vm_name) for at, item in enumerate(some)]
    again = check(api, *names, kind="names", before=stored(first))
    assert not again.changes
    assert {item.change for item in again.differences} <= {"unchanged", "missing"}


@quick
@given(
    st.lists(
        st.fixed_dictionaries(
            {"vm_name": st.sampled_from(["guest1", "guest2", "guset3", ""]) | st.text(max_size=20)},
            optional={
                **{
                    name: st.text(max_size=70)
                    for name in ("wave", "source", "vm_id", "vm_uuid", "vcenter_uuid", "target", "target_name")
                },
                **{name: st.text(max_size=9) for name in ("strategy", "pool", "format", "profile", "group", "owner")},
                "order": st.integers(),
                "cpus": st.integers(),
                "memory_bytes": st.integers(),
                "networks": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
                "depends_on": st.lists(st.sampled_from(["guest1", "guest2"]) | st.text(max_size=9), max_size=3).map(
                    tuple
                ),
                "cutover_at": st.datetimes(timezones=st.timezones()),
                "include": st.booleans(),
                "test_first": st.booleans(),
                "keep_mac": st.booleans(),
            },
        ),
        max_size=6,
    )
)
def test_whatever_stands_in_a_sheet_is_answered(api: Service, rows: list[dict[str, Any]]) -> None:
    found = check(api, *(row(2 + at, **item) for at, item in enumerate(rows)))
    assert all(problem.place and problem.cause for problem in found.problems)
    assert found == check(api, *sheet(*(row(2 + at, **item) for at, item in enumerate(rows))).rows)
