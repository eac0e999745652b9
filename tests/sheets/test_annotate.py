"""An annotated copy, as openpyxl reads it back."""

from __future__ import annotations

import warnings
import zipfile
from io import BytesIO

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.plan import Problem, Wanted
from app.sheets.annotate import annotate
from app.sheets.cells import row_cells
from app.sheets.columns import COLUMNS, WAVE_COLUMNS
from app.sheets.formats import understand
from app.sheets.lists import NOTHING, Choices
from app.sheets.read import read
from app.sheets.template import template
from app.sheets.workbook import Cell, Fault, Moment, Row, Sheet, Workbook

ERROR, WARNING = "FFFFC7CE", "FFFFEB9C"
HEAD = tuple(column.header for column in COLUMNS)


def sheet(name: str, *rows: tuple[Cell, ...]) -> Sheet:
    return Sheet(name, tuple(Row(number, cells) for number, cells in enumerate(rows, 1)))


def plan(*rows: Wanted) -> Sheet:
    return sheet("Plan", HEAD, *(tuple(row_cells(row)) for row in rows))


def opened(workbook: Workbook, problems: list[Problem], choices: Choices = NOTHING) -> openpyxl.Workbook:
    return openpyxl.load_workbook(BytesIO(annotate(workbook, problems, choices)))


def test_a_cell_that_is_wrong_is_red_and_says_why() -> None:
    book = Workbook("plan.xlsx", (plan(Wanted(vm_name="a", pool="nvme1"), Wanted(vm_name="b")),))
    problem = Problem("Plan!K2", 'pool "nvme1" is not on kvm03; pools there: default, ssd', 'Did you mean "nvme01"?')
    back = opened(book, [problem])
    cell = back["Plan"]["K2"]
    assert cell.value == "nvme1"
    assert cell.fill.fgColor.rgb == ERROR
    assert cell.comment.text == f"Error: {problem.cause}\n{problem.fix}"
    assert back["Plan"]["E3"].fill.fill_type is None
    assert back["Plan"]["E3"].value == "b"


def test_a_warning_is_amber_and_an_error_is_stronger() -> None:
    problems = [
        Problem("Plan!E2", "it runs on ice", severity="warning"),
        Problem("Plan!K2", "a bit", severity="warning"),
        Problem("Plan!K2", "much"),
    ]
    back = opened(Workbook("plan.xlsx", (plan(Wanted(vm_name="a", pool="x")),)), problems)["Plan"]
    assert back["E2"].fill.fgColor.rgb == WARNING
    assert back["E2"].comment.text == "Warning: it runs on ice"
    assert back["K2"].fill.fgColor.rgb == ERROR
    assert back["K2"].comment.text == "Warning: a bit\n\nError: much"


def test_an_empty_cell_a_row_and_a_cell_beyond_all_can_be_wrong() -> None:
    places = ["Plan!D2", "Plan!3", "Plan!ZZ9", "Plan!B2:C3", "Waves!A1"]
    back = opened(Workbook("plan.xlsx", (plan(Wanted(), Wanted()),)), [Problem(place, "why") for place in places])
    for cell in ("D2", "A3", "ZZ9", "B2"):
        assert back["Plan"][cell].fill.fgColor.rgb == ERROR
    assert [row[1] for row in back["Problems"].iter_rows(min_row=2, values_only=True)] == places


def test_the_list_leads_to_the_cells() -> None:
    name = "It's a sheet & more"
    problems = [Problem(f"{name}!B2", "why", "do"), Problem("", "all", severity="warning"), Problem("Else!A1", "no")]
    back = opened(Workbook("plan.xlsx", (sheet(name, ("a", "b"), ("c", "d")),)), problems)
    listed = back["Problems"]
    assert back.active.title == "Problems"
    assert [tuple(cell.value for cell in row) for row in listed.iter_rows()] == [
        ("severity", "place", "cause", "fix"),
        ("error", f"{name}!B2", "why", "do"),
        ("warning", None, "all", None),
        ("error", "Else!A1", "no", None),
    ]
    assert listed["B2"].hyperlink.location == "'It''s a sheet & more'!B2"
    assert listed["B3"].hyperlink is None
    assert listed["B4"].hyperlink is None
    assert [listed[cell].fill.fgColor.rgb for cell in ("A2", "A3")] == [ERROR, WARNING]


def test_the_plans_own_sheets_are_dressed_as_in_the_template() -> None:
    waves = sheet("Waves", tuple(column.header for column in WAVE_COLUMNS), ("1",))
    book = Workbook("plan.xlsx", (plan(Wanted(vm_name="00123", cpus=4)), waves))
    back = opened(book, [], Choices(pools=("ssd",)))
    assert back.sheetnames == ["Plan", "Waves", "Lists", "Problems"]
    assert back.active.title == "Plan"
    assert back["Plan"].freeze_panes == "F2"
    assert (back["Plan"]["E2"].value, back["Plan"]["E2"].number_format) == ("00123", "@")
    assert back["Plan"]["O2"].value == 4
    assert "registered target" in back["Plan"]["H1"].comment.text
    (pools,) = [rule for rule in back["Plan"].data_validations.dataValidation if "K2" in rule.sqref]
    assert pools.formula1.startswith("Lists!")


def test_columns_are_known_wherever_they_stand() -> None:
    back = opened(Workbook("p.xlsx", (sheet("plan", ("mine", " POOL ", "VM name"), (7, "ssd", "a")),)), [])
    assert back["plan"]["A1"].comment is None
    assert "pool of the target" in back["plan"]["B1"].comment.text
    assert back["plan"].freeze_panes == "D2"
    assert back["plan"]["A2"].value == 7


def test_cells_keep_their_kinds() -> None:
    cells = ("=1+1", 7, 1.5, True, Moment("2026-12-05 22:00:00"), Fault("#REF!"), Fault(""), None, "00123", "x", 2**70)
    row = opened(Workbook("a.csv", (sheet("a", cells),)), [])["a"][1]
    assert [cell.value for cell in row] == [
        "=1+1",
        7,
        1.5,
        True,
        "2026-12-05 22:00:00",
        "#REF!",
        "#N/A",
        None,
        "00123",
        "x",
        str(2**70),
    ]
    assert [cell.data_type for cell in row] == list("snnbsssnsss")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (
            template([Wanted(vm_name="00123", pool="=x", cpus=4), Wanted(vm_id="vm-7", notes=" \n'")], NOTHING),
            "plan.xlsx",
        ),
        (b"\xef\xbb\xbfVM name;order;cutover at;mine\r\n'=a;7;2026-12-05 22:00 Europe/Berlin;x\r\n", "My servers.csv"),
        (b"db01\n00123\n", "names.txt"),
        (b"VM,VM ID,VI SDK UUID,Powerstate,Memory\ndb01,vm-7,4711,poweredOn,8192\n", "RVTools_tabvInfo.csv"),
        (b"VMs\n" + b"".join(b"vm%d\n" % n for n in range(200)), "vms.csv"),
    ],
    ids=["template", "csv", "names", "RVTools", "names below a header"],
)
def test_a_copy_is_understood_as_what_it_is_of(data: bytes, name: str) -> None:
    before = read(data, name)
    wanted = understand(before)
    sheet = before.sheets[0].name
    problems = [Problem(f"{sheet}!A2", "why"), Problem(f"{sheet}!B1", "why", severity="warning")]
    again = understand(read(annotate(before, problems), name))
    assert again.kind == wanted.kind
    assert again.rows == wanted.rows
    assert again.waves == wanted.waves
    assert again.problems == wanted.problems


def test_a_list_of_names_has_no_header() -> None:
    back = opened(Workbook("names.txt", (sheet("names", ("db01",), ("db02",)),)), [Problem("names!A2", "no such VM")])
    assert not back["names"]["A1"].font.b
    assert back["names"].freeze_panes is None
    assert back["names"]["A2"].fill.fgColor.rgb == ERROR


def test_an_earlier_annotation_is_not_copied() -> None:
    back = opened(Workbook("p.xlsx", (plan(), sheet("Problems", ("severity",)), sheet("Lists", ("pool",)))), [])
    assert back.sheetnames == ["Plan", "Lists", "Problems"]


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (["a/b:c*?", "A_B_C__"], ["a_b_c__", "A_B_C__ (2)"]),
        (["x" * 40, "x" * 41], ["x" * 31, "x" * 27 + " (2)"]),
        (["'q'", "History", "\x00"], ["q", "History_", "_"]),
        (["''"], ["Sheet"]),
        (["x" * 30 + "\N{WAVING HAND SIGN}", "x" * 30 + "'y"], ["x" * 30, "x" * 27 + " (2)"]),
    ],
)
def test_sheets_get_names_that_excel_takes(names: list[str], there: list[str]) -> None:
    book = Workbook("p.xlsx", tuple(sheet(name, ("a", "b")) for name in names))
    back = opened(book, [Problem(f"{names[-1]}!B1", "why")])
    assert back.sheetnames == [*there, "Problems"]
    assert back[there[-1]]["B1"].fill.fgColor.rgb == ERROR
    assert back["Problems"]["B2"].hyperlink is not None


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.builds(Moment, st.text())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(ANYTHING, max_size=4)), st.lists(st.tuples(st.text(), st.text(), st.text())), st.text())
def test_nothing_that_a_sheet_holds_breaks_its_copy(
    rows: list[list[Cell]], problems: list[tuple[str, str, str]], name: str
) -> None:
    book = Workbook("x", (sheet(name, *map(tuple, rows)),))
    told = [Problem(f"{name}!A1", text, fix) for _, text, fix in problems] + [Problem(*each) for each in problems]
    back = opened(book, told)
    assert back.worksheets[-1].max_row == 1 + len(told)


def test_more_problems_than_programs_can_bear() -> None:
    book = Workbook("plan.xlsx", (plan(Wanted(pool="x")),))
    problems = [Problem(f"Plan!{letter}{row}", "why") for letter in "BCD" for row in range(2, 22_002)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # xlsxwriter's way to say that it left something out
        data = annotate(book, problems * 2)
    with zipfile.ZipFile(BytesIO(data)) as parts:
        assert parts.read("xl/comments1.xml").count(b"<comment ") == len(COLUMNS) + 20_000
        assert parts.read("xl/worksheets/sheet3.xml").count(b"<hyperlink ") == 60_000
        assert parts.read("xl/worksheets/sheet3.xml").count(b"<row ") == 1 + len(problems) * 2
