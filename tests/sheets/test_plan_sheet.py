"""Our own template, as people fill it in: what is understood, and what is said where, of what is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from io import BytesIO

import openpyxl
import pytest

from app.domain.errors import UnreadableSheet
from app.domain.plan import Gate, Problem, Wanted, WantedPlan, Wave
from app.sheets.columns import COLUMNS
from app.sheets.formats import understand
from app.sheets.read import read
from app.sheets.template import Choices, template

GIB = 1 << 30


def csv(text: str, encoding: str = "utf-8") -> WantedPlan:
    return understand(read(text.encode(encoding), "plan.csv"))


def xlsx(
    rows: list[list[object]], *, title: str = "Plan", waves: list[list[object]] | None = None
) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    if waves:
        other = book.create_sheet("Waves")
        for row in waves:
            other.append(row)
    return book


def understood(book: openpyxl.Workbook) -> WantedPlan:
    file = BytesIO()
    book.save(file)
    return understand(read(file.getvalue(), "plan.xlsx"))


def told(plan: WantedPlan) -> list[tuple[str, str, str]]:
    return [(problem.place, problem.severity, problem.code) for problem in plan.problems]


def one(plan: WantedPlan) -> Problem:
    (problem,) = plan.problems
    return problem


def plain(row: Wanted) -> dict[str, object]:
    return {name: value for name, value in vars(row).items() if name != "places" and value not in ("", None, (), {})}


def test_the_template_comes_back_as_it_was_written() -> None:
    row = Wanted(
        wave="2", order=-3, source="vc1", vm_name="=web 01", vm_id="vm-42", vm_uuid="4203aa00-1",
        target="kvm01", target_name="00123", strategy="disk_only", pool="ssd", format="raw",
        networks={"VM Network": "default", "a;b=c": "bridge:br0"}, keep_mac=True, cpus=4, memory_bytes=8 * GIB,
        profile="latency", cutover_at=datetime(2026, 12, 5, 21, tzinfo=UTC), power_on=False, test_first=False,
        group="shop", depends_on=("vm-7", "db;1"), owner="ops", notes="two\nlines ",
    )  # fmt: skip
    waves = (Wave(name="1"), Wave(name="2", starts_at=row.cutover_at, at_once=4, stop_after=2, gate=Gate.MANUAL))
    plan = understand(read(template([row], Choices(), waves), "x"))
    assert plan.problems == ()
    assert [plain(row)] == [plain(found) for found in plan.rows]
    assert plan.waves == waves
    assert plan.kind == "plan"
    assert {column.field for column in COLUMNS} <= set(plan.rows[0].places)
    assert plan.rows[0].place("vm_id") == "Plan!F2"
    assert plan.rows[0].place("nothing") == "Plan!2"
    assert plan.wave_places["2/gate"] == "Waves!F3"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_csv_in_any_dress(separator: str, encoding: str) -> None:
    lines = [["VM name", "wave", "notes"], ["wéb", "1", "'=1+1"], [], ["'it", "", '"a\nb; ""c"""']]
    plan = csv("\r\n".join(separator.join(line) for line in lines), encoding)
    assert plan.problems == ()
    assert [(row.vm_name, row.wave, row.notes) for row in plan.rows] == [("wéb", "1", "=1+1"), ("'it", "", 'a\nb; "c"')]
    assert [row.place("notes") for row in plan.rows] == ["plan.csv!C2", "plan.csv!C4"]


def test_cells_of_any_type() -> None:
    plan = understood(
        xlsx(
            [
                ["VM id", "wave", "order", "CPU", "memory", "power on after", "include"],
                ["vm-1", 1, 2.0, "4.0", 8192, True, 1],
                ["vm-2", 1.0, "2", 4, "1,5 GiB", "no", "X"],
                ["vm-3", "1", None, "", " 2 GB ", 0, "FALSE"],
            ]
        )
    )
    assert plan.problems == ()
    assert [row.wave for row in plan.rows] == ["1", "1", "1"]
    assert [row.order for row in plan.rows] == [2, 2, None]
    assert [row.cpus for row in plan.rows] == [4, 4, None]
    assert [row.memory_bytes for row in plan.rows] == [8 * GIB, 3 * GIB // 2, 2 * GIB]
    assert [row.power_on for row in plan.rows] == [True, False, False]
    assert [row.include for row in plan.rows] == [True, True, False]


@pytest.mark.parametrize(
    ("header", "value", "cause", "fix"),
    [
        ("order", 1.5, "'1.5' is no whole number", "whole number"),
        ("CPU", "four", "'four' is no whole number", "from 1"),
        ("CPU", 0, "too small", "from 1"),
        ("memory", "8,192", "8.192 MiB", "8192"),
        ("memory", "lots", "'lots' is no size", "8 GiB"),
        ("memory", True, "no size", "8 GiB"),
        ("power on after", "maybe", "neither yes nor no", "yes or no"),
        ("networks", "VM Network", 'comes no "="', "quotes"),
        ("cutover at", datetime(2026, 12, 5, 22), "a date cell has no zone", "2026-12-05 22:00 Europe/Berlin"),
        ("cutover at", date(2026, 12, 5), "a date cell has no zone", "2026-12-05 22:00 Europe/Berlin"),
        ("cutover at", time(22), "a date cell has no zone", "Europe/Berlin"),
        ("cutover at", 46361.91666666666, "is a number", "2026-12-05 22:00 Europe/Berlin"),
        ("cutover at", "2026-12-05 22:00", "has no zone", "2026-12-05 22:00 Europe/Berlin"),
        ("cutover at", "tomorrow", "is no time", "2026-12-05 22:00 Europe/Berlin"),
        ("cutover at", "2026-02-30 22:00 UTC", "is no time", "Europe/Berlin"),
        ("cutover at", "2026-12-05 22:00 Europe/Berln", "no zone that is known", 'Did you mean "Europe/Berlin"?'),
        ("cutover at", "2026-12-05 22:00 +25:00", "no offset", "+01:00"),
        ("cutover at", "2027-03-28 02:30 Europe/Berlin", "does not exist", "Write 2027-03-28 03:30 Europe/Berlin"),
        ("cutover at", "2026-10-25 02:30 Europe/Berlin", "comes twice", "T02:30+02:00 or 2026-10-25T02:30+01:00"),
        ("wave", datetime(2026, 1, 2), "it is a date (2026-01-02", "as text"),
        ("wave", "a\nb", "a line break", "one line"),
        ("group", "=1/0", "no stored value", "save it"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_cell(header: str, value: object, cause: str, fix: str) -> None:
    plan = understood(xlsx([["VM id", header], ["vm-1", value]]))
    problem = one(plan)
    assert (problem.place, problem.severity) == ("Plan!B2", "error")
    assert problem.cause.startswith(f"{header}: ")
    assert cause in problem.cause
    assert fix in problem.fix
    assert len(plan.rows) == 1


@pytest.mark.parametrize(
    "written",
    [
        "2026-12-05 22:00 Europe/Berlin", "2026-12-05T22:00+01:00", "2026-12-05 22:00:00 europe/berlin",
        "2026-12-05T21:00Z", "2026-12-05 21:00 UTC", "2026-12-05  16:00  -05:00", "2026-12-05\u00a022:00\u00a0CET",
    ],
)  # fmt: skip
def test_times_with_a_zone(written: str) -> None:
    assert csv(f"VM id,cutover at\nvm-1,{written}\n").rows[0].cutover_at == datetime(2026, 12, 5, 21, tzinfo=UTC)


def test_a_name_in_a_cell_of_numbers() -> None:
    """It may have been 00123; where the id says who it is, that harms little."""
    plan = understood(xlsx([["VM name", "VM id", "target name"], [123, None, 7], [123.0, "vm-1", None]]))
    assert told(plan) == [
        ("Plan!A2", "error", "name_is_number"),
        ("Plan!C2", "warning", "name_is_number"),
        ("Plan!A3", "warning", "name_is_number"),
    ]
    assert [row.vm_name for row in plan.rows] == ["123", "123"]


def test_one_spelling_of_what_looks_the_same() -> None:
    plan = csv("\u00a0Vm\u00a0NAME ,Pool\n Cafe\u0301\u00a01\u200b,\ufeffssd\n")
    assert plan.problems == ()
    assert [(row.vm_name, row.pool) for row in plan.rows] == [("Caf\u00e9 1", "ssd")]


def test_headers() -> None:
    plan = understood(
        xlsx(
            [
                ["Weekend of the move"], [], ["VM id", "Pol", "wave", "Ticket", "wave", "state", "GiB"],
                ["vm-1", "ssd", "1", "T-1", "2", "failed", 3.5],
            ]
        )
    )  # fmt: skip
    assert told(plan) == [
        ("Plan!B3", "warning", "column_unknown"),
        ("Plan!D3", "warning", "column_unknown"),
        ("Plan!E3", "error", "column_twice"),
    ]
    assert plan.problems[0].fix == 'Did you mean "pool"?'
    assert "C3" in plan.problems[2].cause
    assert [(row.vm_id, row.wave, row.place("wave")) for row in plan.rows] == [("vm-1", "1", "Plan!C4")]


def test_a_name_is_enough_of_a_header_where_a_wave_stands_beside_it() -> None:
    plan = understood(xlsx([["Nr", "Name", "wave"], [1, "web01", 1], [2, "db01", 2]], title="Tabelle1"))
    assert [(row.vm_name, row.wave) for row in plan.rows] == [("web01", "1"), ("db01", "2")]
    assert told(plan) == [("Tabelle1!A1", "warning", "column_unknown")]
    with pytest.raises(UnreadableSheet):
        csv("Name,Amount\nMiller,12\n")


def test_line_breaks_within_a_value_stay_as_they_are() -> None:
    assert [row.notes for row in csv('VM name,notes\ra,"1\r\n2\r3\n4"\rb,x\r').rows] == ["1\r\n2\r3\n4", "x"]


def test_rows_that_name_no_vm_and_rows_that_are_empty() -> None:
    plan = csv("VM name,pool\n ,\na,ssd\n,ssd\n\nVM name,pool\nVM,\n")
    assert told(plan) == [("plan.csv!4", "error", "vm_missing")]
    assert [row.vm_name for row in plan.rows] == ["a", "VM"]


def test_what_is_included() -> None:
    assert [row.include for row in csv("VM name\na\nb\n").rows] == [True, True]
    assert [row.include for row in csv("VM name,include\na,\nb,\n").rows] == [True, True]
    plan = csv("VM name,include\na,x\nb,\nc,no\n")
    assert [row.include for row in plan.rows] == [True, False, False]
    assert told(plan) == [("plan.csv!B3", "warning", "include_missing")]
    plan = csv("VM name,include\na,perhaps\nb,yes\n")
    assert [row.include for row in plan.rows] == [False, True]
    assert told(plan) == [("plan.csv!B2", "error", "invalid_value")]


def test_what_people_do_not_see() -> None:
    book = xlsx([["VM id", "wave"], ["vm-1", "1"], ["vm-2", None], ["vm-3", "2"]])
    sheet = book["Plan"]
    sheet.merge_cells("B2:B3")
    sheet.row_dimensions[4].hidden = True
    plan = understood(book)
    assert told(plan) == [("Plan!4", "warning", "rows_hidden"), ("Plan!B2:B3", "warning", "cells_merged")]
    assert [row.wave for row in plan.rows] == ["1", "", "2"]


def test_waves() -> None:
    waves: list[list[object]] = [
        ["wave", "starts at", "at once", "gate", "stop aftr"],
        [1, "2026-12-05 22:00 UTC", 4.0, "All green", 1],
        ["1", None, None, None, None],
        ["2", "soon", 0, "open", None],
        [None, None, 3, None, None],
    ]
    plan = understood(xlsx([["VM id"], ["vm-1"]], waves=waves))
    assert plan.waves == (
        Wave(name="1", starts_at=datetime(2026, 12, 5, 22, tzinfo=UTC), at_once=4, gate=Gate.ALL_GREEN),
        Wave(name="2"),
    )
    assert told(plan) == [
        ("Waves!E1", "warning", "column_unknown"),
        ("Waves!A3", "error", "wave_twice"),
        ("Waves!B4", "error", "invalid_value"),
        ("Waves!C4", "error", "invalid_value"),
        ("Waves!D4", "error", "invalid_value"),
        ("Waves!A5", "error", "invalid_value"),
    ]


def test_the_sheet_plan_is_taken_where_there_are_others() -> None:
    book = xlsx([["VM name"], ["no"]], title="Old")
    sheet = book.create_sheet("plan")
    sheet.append(["VM name"])
    sheet.append(["yes"])
    assert [row.vm_name for row in understood(book).rows] == ["yes"]


@pytest.mark.parametrize(
    "text", ["web01\n\n db01 \n", "VM\nweb01\ndb01\n", "web01\r\ndb01", "VM name;\nweb01;\ndb01;\n"]
)
def test_a_list_of_names(text: str) -> None:
    plan = csv(text)
    assert plan.kind == "names"
    assert plan.problems == ()
    assert [row.vm_name for row in plan.rows] == ["web01", "db01"]


def test_names_in_a_workbook() -> None:
    plan = understood(xlsx([["web01"], [123], ["db01"]], title="Tabelle1"))
    assert [(row.vm_name, row.place("vm_name")) for row in plan.rows][::2] == [
        ("web01", "Tabelle1!A1"),
        ("db01", "Tabelle1!A3"),
    ]
    assert told(plan) == [("Tabelle1!A2", "error", "name_is_number")]


def test_a_sheet_of_something_else() -> None:
    with pytest.raises(UnreadableSheet) as caught:
        csv("Invoice,Amount\n1,2\n")
    assert caught.value.code == "sheet_unknown"
    assert "plan.csv" in caught.value.message
