"""An export is imported again as it was: each cell's writing is the inverse of its reading."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from io import BytesIO
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from app.domain.move import MoveOptions, Profile, Strategy
from app.domain.plan import Gate, Item, Wanted, WantedPlan, Wave
from app.domain.spelling import plain
from app.sheets.book import cell_text
from app.sheets.cells import written
from app.sheets.columns import COLUMNS, STATE_COLUMNS, Column
from app.sheets.export import as_wanted, export_csv, export_xlsx
from app.sheets.formats import understand
from app.sheets.formats.own import READ
from app.sheets.outcome import Outcome
from app.sheets.read import read
from tests.sheets.reading import read_here

HOSTILE = [
    "=1+1",
    "+49",
    "-1",
    "@a",
    "'=x",
    "''-",
    "00123",
    "1e5",
    "1,5",
    "TRUE",
    "yes",
    "2026-12-05",
    "12:30",
    "#REF!",
    "_x0041_",
    "a;b=c",
    '"quoted"',
    'a"b',
    "sep=;",
    "ünï ☃ 😀",
    "=HYPERLINK(1)",
    "{=1}",
    "a'b",
    "x" * 200,
]
WORDS = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
NAMES = WORDS.map(cell_text).map(plain)
SOME = NAMES.filter(bool)
WAVES = SOME.map(lambda name: plain(name[:60]))
REMARKS = st.builds(
    "".join,
    st.lists(st.sampled_from([*HOSTILE, "\t", "\n", "\r", "\r\n", " ", "\x01", "y" * 9999]) | WORDS, max_size=3),
).map(cell_text)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))
OPTIONS = st.builds(
    MoveOptions,
    strategy=st.sampled_from(Strategy),
    target_name=NAMES,
    pool=NAMES.map(lambda name: name.replace("/", "")),
    format=st.sampled_from(["", "qcow2", "raw"]),
    networks=st.dictionaries(NAMES, NAMES, max_size=3),
    cpus=st.none() | st.integers(1, 4096),
    memory_bytes=st.none() | st.integers(4, 64 << 20).map(lambda mib: mib << 20),
    profile=st.sampled_from(Profile),
    power_on=st.none() | st.booleans(),
)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Item], list[Wave]]:
    ids = draw(st.lists(SOME, min_size=1, max_size=4, unique=True))
    keys = [f"vc:{vm_id}" for vm_id in ids]
    items = [
        Item(
            key=key,
            place=place,
            include=draw(st.booleans()),
            wave=draw(WAVES),
            order=draw(st.integers(-1_000_000, 1_000_000)),
            source=draw(NAMES),
            vm_id=vm_id,
            vm_name=draw(NAMES),
            vm_uuid=draw(NAMES),
            target=draw(NAMES),
            options=draw(OPTIONS),
            cutover_at=draw(st.none() | TIMES),
            group=draw(NAMES),
            depends_on=draw(st.lists(st.sampled_from(keys), unique=True, max_size=3).map(tuple)),
            owner=draw(REMARKS),
            notes=draw(REMARKS),
        )
        for place, (key, vm_id) in enumerate(zip(keys, ids, strict=True), 1)
    ]
    limits = {"at_once": st.none() | st.integers(1, 1000), "stop_after": st.none() | st.integers(1, 100_000)}
    times = {"starts_at": st.none() | TIMES, "ends_at": st.none() | TIMES}
    gates = st.sampled_from(Gate)
    waves = st.builds(Wave, name=WAVES, gate=gates, **times, **limits)
    return items, draw(st.lists(waves, max_size=3, unique_by=lambda wave: wave.name))


OUTCOMES = st.builds(
    Outcome, state=WORDS, started=TIMES, ended=st.none() | TIMES, gib=st.none() | st.floats(0, 1e6), error=REMARKS
)


def rows_of(wanted: WantedPlan) -> list[Wanted]:
    """Without their places. An export says nothing of MAC addresses and rehearsals."""
    fields = [column.field for column in COLUMNS]
    return [Wanted(**{field: getattr(row, field) for field in fields}) for row in wanted.rows]


def errors(wanted: WantedPlan) -> list[str]:
    return [str(problem) for problem in wanted.problems if problem.severity == "error"]


@settings(deadline=None, max_examples=60)
@given(plans(), OUTCOMES)
def test_a_workbook_comes_back_as_it_went(plan: tuple[list[Item], list[Wave]], outcome: Outcome) -> None:
    items, waves = plan
    wanted = understand(read_here(export_xlsx(items, waves, {item.key: outcome for item in items}), "a.xlsx"))
    assert errors(wanted) == []
    assert rows_of(wanted) == as_wanted(items)
    assert list(wanted.waves) == waves


@settings(deadline=None, max_examples=60)
@given(plans(), OUTCOMES)
def test_a_csv_comes_back_as_it_went(plan: tuple[list[Item], list[Wave]], outcome: Outcome) -> None:
    items, _ = plan
    wanted = understand(read_here(export_csv(items, {item.key: outcome for item in items}), "a.csv"))
    assert errors(wanted) == []
    assert rows_of(wanted) == as_wanted(items)
    assert wanted.waves == ()


FIELDS = {
    **dict.fromkeys(("order",), st.integers(-1_000_000, 1_000_000)),
    **dict.fromkeys(("cpus",), st.integers(1, 4096)),
    **dict.fromkeys(("memory_bytes",), st.integers(1, 64 << 20).map(lambda mib: mib << 20)),
    **dict.fromkeys(("keep_mac", "power_on", "test_first"), st.booleans()),
    **dict.fromkeys(("cutover_at",), TIMES),
    **dict.fromkeys(("networks",), st.dictionaries(NAMES, NAMES, min_size=1)),
    **dict.fromkeys(("depends_on",), st.lists(SOME, min_size=1).map(tuple)),
    **dict.fromkeys(("owner", "notes"), REMARKS.filter(bool)),
}


@pytest.mark.parametrize("column", COLUMNS[1:], ids=lambda column: column.header)
def test_each_value_is_read_as_it_is_written(column: Column) -> None:
    reading, nothing = READ[column.field]

    @given(FIELDS.get(column.field, SOME))
    def comes_back(value: object) -> None:
        assert reading(written(column.field, value)) == value

    comes_back()
    assert reading(written(column.field, nothing)) == nothing


AT = datetime(2026, 12, 5, 21, tzinfo=UTC)


def item(number: int, **said: object) -> Item:
    told = {"key": f"vc:vm-{number}", "place": number, "source": "vc01", "vm_id": f"vm-{number}", "target": "kvm01"}
    return Item.model_validate(told | {"vm_name": f"app{number}"} | said)


def test_states_stand_behind_the_plan_and_are_not_read_again() -> None:
    outcome = Outcome(
        "succeeded", AT, AT.replace(minute=9), 61.5, 12.25, 110.0, "seen by agent", "as it was", "423", ""
    )
    data = export_xlsx([item(1), item(2)], [Wave(name="1")], {"vc:vm-1": outcome})
    sheet = load_workbook(BytesIO(data))["Plan"]
    head, first, second = (row[len(COLUMNS) :] for row in sheet.iter_rows(values_only=True))
    assert head == tuple(column.header for column in STATE_COLUMNS)
    assert first == (
        "succeeded",
        "2026-12-05 21:00 UTC",
        "2026-12-05 21:09 UTC",
        61.5,
        12.25,
        110,
        "seen by agent",
        "as it was",
        "423",
        None,
    )
    assert second == (None,) * len(STATE_COLUMNS)
    assert sheet.cell(1, len(COLUMNS) + 1).fill.fgColor.rgb != sheet.cell(1, 1).fill.fgColor.rgb
    assert all(sheet.cell(1, 1 + number).comment for number in range(len(COLUMNS) + len(STATE_COLUMNS)))
    assert understand(read(data, "plan.xlsx")).problems == ()


def test_no_cell_of_a_csv_is_run_as_a_formula() -> None:
    hostile = [item(n, vm_name=text, notes=text, order=-5) for n, text in enumerate(HOSTILE)]
    data = export_csv(hostile, {each.key: Outcome(error=each.vm_name) for each in hostile})
    assert data.startswith(b"\xef\xbb\xbfinclude,")
    _, *rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    order = [column.field for column in COLUMNS].index("order")
    for row in rows:
        assert row.pop(order) == "-5"
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    wanted = understand(read(data, "plan.csv"))
    assert [row.vm_name for row in wanted.rows] == HOSTILE


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\ufffe", "a\nb", "\x1b[0m"])
def test_a_name_that_no_sheet_takes_costs_no_row(text: str) -> None:
    items = [item(1, notes=text), item(2)]
    items[0] = items[0].model_copy(update={"vm_name": text})
    for data in (export_xlsx(items, [], {}), export_csv(items, {})):
        wanted = understand(read_here(data, "plan"))
        assert errors(wanted) == []
        assert [row.vm_id for row in wanted.rows] == ["vm-1", "vm-2"]


@pytest.mark.parametrize(
    ("others", "called"),
    [
        ([{}], "app1"),
        ([{"vm_name": "APP1"}], "vm-1"),
        ([{"vm_uuid": "app1"}], "vm-1"),
        ([{"vm_name": "app1", "key": "other:vm-1", "vm_id": "vm-1"}], "vc:vm-1"),
    ],
    ids=["by its name", "another has it", "another has it as its UUID", "ids are the same, too"],
)
def test_what_a_vm_waits_for_is_said_so_that_it_is_clear(others: list[dict[str, str]], called: str) -> None:
    items = [item(1), item(9, depends_on=("vc:vm-1",)), *(item(n, **said) for n, said in enumerate(others, 2))]
    assert as_wanted(items)[1].depends_on == (called,)


def test_ten_thousand_items_take_seconds() -> None:
    items = [item(n, notes="some notes", options={"networks": {"a": "b"}}) for n in range(10_000)]
    outcomes = {each.key: Outcome("succeeded", AT, AT, 60, 10.5, 99.9, target_uuid=each.key) for each in items}
    start = process_time()
    data = export_xlsx(items, [], outcomes)
    assert process_time() - start < 15
    assert len(data) < 3_000_000
