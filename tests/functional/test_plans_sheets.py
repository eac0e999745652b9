"""A plan as a sheet and back, through the check: nothing is changed by that, whatever things are called."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.plan_schemas import PlanDocument
from app.domain.models import Nic
from app.domain.plan import Gate, Item, Plan, Wanted, WantedPlan, Wave
from app.services.plan_check import PlanCheck
from app.services.planning.report import Checked
from app.services.planning.rows import Asked, Before
from app.sheets.export import export_csv, export_xlsx
from app.sheets.formats import understand
from tests.functional.api import Service, facts, service, vm
from tests.functional.plans import NOW
from tests.sheets.reading import read_here

NAMES = ["=1+1", "00123", "vm-1", "app", "APP", "app", "a;b", 'a"b', "-x", "'=y", "ü ☃", " two  blanks ", "a\nb", "a=b"]
NETWORKS = ["VM Network", "a;b", "c=d", '"e"']
WORDS = st.sampled_from(["", "=1", "-", "00123", "x;y", "'+z", "ünï", "2026-12-05", "1e5", "TRUE"])
REMARKS = WORDS | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\ufffe\uffff"), max_size=30)
TIMES = st.datetimes(NOW.replace(tzinfo=None), NOW.replace(tzinfo=None, year=2100)).map(
    lambda at: at.replace(tzinfo=NOW.tzinfo)
)
TEXTS = ("wave", "source", "target", "target_name", "pool", "group", "owner", "notes")
WAVES = ["=1", "10", "00123"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(Path(tmp_path_factory.mktemp("plans"))) as api:
        api.register()
        cards = tuple(
            Nic(key=4000 + n, label=f"Network adapter {n}", mac=f"00:50:56:00:01:{n:02x}", network=network)
            for n, network in enumerate(NETWORKS)
        )
        vms = [vm(number, name=name, nics=cards) for number, name in enumerate(NAMES, 1)]
        api.store.workers.save_inventory(api.source, "vcenter-uuid", vms)
        api.store.workers.save_target_facts(api.target, facts(networks=("default", "a;b", "lab net")), [])
        yield api


@st.composite
def plans(draw: st.DrawFn) -> WantedPlan:
    numbers = draw(st.lists(st.integers(1, len(NAMES)), min_size=1, unique=True))
    ids = [f"vm-{number}" for number in numbers]
    rows = [
        Wanted(
            include=draw(st.booleans()),
            wave=draw(st.sampled_from(WAVES)),
            order=draw(st.none() | st.integers(-9, 9)),
            vm_id=vm_id,
            target_name=draw(WORDS),
            strategy=draw(st.sampled_from(["", "cold", "disk_only"])),
            pool=draw(st.sampled_from(["", "default"])),
            format=draw(st.sampled_from(["", "raw", "qcow2"])),
            networks=draw(st.dictionaries(st.sampled_from(NETWORKS), st.sampled_from(["default", "a;b"]))),
            cpus=draw(st.none() | st.integers(1, 64)),
            memory_bytes=draw(st.none() | st.integers(512, 9000).map(lambda mib: mib << 20)),
            profile=draw(st.sampled_from(["", "balanced", "latency"])),
            cutover_at=draw(st.none() | TIMES),
            power_on=draw(st.none() | st.booleans()),
            group=draw(WORDS),
            depends_on=draw(st.lists(st.sampled_from(ids), max_size=3).map(tuple)),
            owner=draw(REMARKS),
            notes=draw(REMARKS),
        )
        for vm_id in ids
    ]
    waves = [
        Wave(
            name=name,
            starts_at=draw(st.none() | TIMES),
            ends_at=draw(st.none() | TIMES),
            at_once=draw(st.none() | st.integers(1, 9)),
            stop_after=draw(st.none() | st.integers(1, 9)),
            gate=draw(st.sampled_from(Gate)),
        )
        for name in WAVES
    ]
    return WantedPlan("plan", tuple(rows), tuple(waves))


def checked(api: Service, wanted: WantedPlan, before: Checked | None = None) -> Checked:
    plan = Plan(id="p", name="june", waves=before.waves, created_at=NOW, updated_at=NOW) if before else None
    return PlanCheck(api.store, slots=2).run(wanted, Asked(), Before(plan, before.items if before else ()), NOW)


def planned(found: Checked) -> list[Item]:
    """Without where their rows stand."""
    return sorted((item.model_copy(update={"place": 0}) for item in found.items), key=lambda item: item.key)


quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_an_export_says_the_plan_as_it_is(api: Service, kind: str) -> None:
    @quick
    @given(plans())
    def comes_back(wanted: WantedPlan) -> None:
        first = checked(api, wanted)
        items = list(first.items)
        data = export_csv(items, {}) if kind == "csv" else export_xlsx(items, first.waves, {})
        again = checked(api, understand(read_here(data, f"june.{kind}")), first)
        assert [item for item in again.differences if item.change != "unchanged"] == []
        assert again.items == first.items
        assert again.waves == first.waves
        assert not again.changes

    comes_back()


ANYTHING = st.text(max_size=12) | st.sampled_from([" erp", "e\u00a0f", "a\x07", "\u200b", "x\ny", "=1", "e\u0301"])


@quick
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(TEXTS, ANYTHING)), max_size=4), ANYTHING)
def test_what_a_document_may_say_an_export_can_say(api: Service, rows: list[dict[str, str]], wave: str) -> None:
    items = [{"vm_id": f"vm-{number}"} | row for number, row in enumerate([{}, *rows], 1)]  # one is right in any case
    try:
        document = PlanDocument.model_validate({"items": items, "waves": [{"name": wave}]})
    except ValidationError:
        return  # it is told to the caller
    first = checked(api, document.wanted())
    wanted = understand(read_here(export_xlsx(first.items, first.waves, {}), "june.xlsx"))
    assert wanted.problems == ()
    again = checked(api, wanted, first)
    assert [item for item in again.differences if item.change != "unchanged"] == []
    assert not again.changes


@quick
@given(plans(), st.randoms(use_true_random=False))
def test_the_order_of_rows_says_nothing(api: Service, wanted: WantedPlan, chance: random.Random) -> None:
    first = checked(api, wanted)
    rows = list(wanted.rows)
    chance.shuffle(rows)
    assert planned(checked(api, WantedPlan("plan", tuple(rows), wanted.waves))) == planned(first)
    again = checked(api, WantedPlan("plan", tuple(rows), wanted.waves), first)
    assert not again.changes
