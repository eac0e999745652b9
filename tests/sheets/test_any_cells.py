"""Whatever stands in the cells of a sheet, it is understood or refused, and each problem has its place."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest, UnreadableSheet
from app.domain.plan import WantedPlan
from app.sheets.columns import COLUMNS, STATE_COLUMNS, WAVE_COLUMNS
from app.sheets.formats import understand
from app.sheets.workbook import Cell, Fault, Moment, Row, Sheet, Workbook
from tests.sheets.reading import read_here

PLAN = [column.header for column in (*COLUMNS, *STATE_COLUMNS)]
WAVES = [column.header for column in WAVE_COLUMNS]
INFO = [
    "VM",
    "VM ID",
    "VM UUID",
    "SMBIOS UUID",
    "VI SDK UUID",
    "Powerstate",
    "Template",
    "CPUs",
    "Memory",
    "Network #1",
]
DISK = ["VM", "VM ID", "Capacity MiB", "VI SDK UUID"]
NETWORK = ["VM", "VM ID", "Network", "Switch", "VI SDK UUID"]
PORT = ["Port Group", "VLAN", "VI SDK UUID"]
LIVE = [
    "VM Name",
    "MOB ID",
    "UUID",
    "Power State",
    "Virtual CPU",
    "Provisioned Memory (MiB)",
    "Virtual Disk Size (MiB)",
]
AZURE = ["Server name", "Cores", "Memory", "Number of disks", "OS name"]

LIKELY = [
    "yes", "NO", "warm", "cold", "8 GiB", "1,5 GB", "-1", "0", "1e9", "vm-7", "a=b; c", "a;b", '"', "2026-12-05 22:00",
    "2026-03-29 02:30 Europe/Berlin", "2026-12-05T22:00+99:00", "0000-00-00 00:00 UTC", "9999-12-31 23:59 -14:00",
    "0001-01-01 00:00 +14:00", "1999-12-31 23:59 UTC", "2200-01-01 00:00 UTC", "Etc/../UTC", "²", "١٢", "1_000", "=1",
    "'", "\x00", "\ud800", "\ufeff", "x" * 40_000, "%2f%", "4200c1d2-0000-4000-8000-000000000001",
]  # fmt: skip
CELLS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-1, 50_000)
    | st.floats()
    | st.sampled_from(LIKELY)
    | st.text(max_size=40)
    | st.builds(Moment, st.sampled_from(["2026-12-05 22:00:00", "1900-01-01", "12:30:00", "-1 day, 0:00:00", ""]))
    | st.builds(Fault, st.sampled_from(["#REF!", ""]))
)


@st.composite
def sheets(draw: st.DrawFn, name: str, headers: list[str]) -> Sheet:
    shown = draw(st.permutations(headers)) if draw(st.booleans()) else headers
    rows: list[tuple[Cell, ...]] = [tuple(shown[: draw(st.integers(1, len(shown)))])]
    rows += draw(st.lists(st.lists(CELLS, min_size=1, max_size=len(shown) + 2).map(tuple), max_size=6))
    first = draw(st.integers(1, 9))
    numbered = tuple(
        Row(number, cells) for number, cells in enumerate(rows, first) if any(c is not None for c in cells)
    )
    return Sheet(
        name, numbered, draw(st.frozensets(st.integers(1, 9))), draw(st.sampled_from([(), ("A1:B2", "C3:C9")]))
    )


WORKBOOKS = {
    "plan": [("Plan", PLAN), ("Waves", WAVES)],
    "csv": [("servers.csv", PLAN)],
    "rvtools": [("vInfo", INFO), ("vDisk", DISK), ("vNetwork", NETWORK), ("dvPort", PORT)],
    "several": [("a/RVTools_tabvInfo.csv", INFO), ("b/RVTools_tabvInfo.csv", INFO)],
    "live": [("VMs", LIVE)],
    "azure": [("azure.csv", AZURE)],
    "names": [("names", ["VM"])],
}


@pytest.mark.parametrize("kind", WORKBOOKS)
def test_any_cells_are_understood_or_refused(kind: str) -> None:
    @settings(deadline=None, max_examples=150)
    @given(st.tuples(*(sheets(name, headers) for name, headers in WORKBOOKS[kind])))
    def holds(found: tuple[Sheet, ...]) -> None:
        try:
            wanted = understand(Workbook("it", found))
        except UnreadableSheet:
            return
        check(wanted, {sheet.name for sheet in found})

    holds()


@pytest.mark.parametrize("year", [1, 1999, 2200, 9999])
def test_a_year_that_no_plan_has_is_told_at_its_cell(year: int) -> None:
    at = f"{year:04}-06-01 12:00 UTC"
    plan = Sheet("Plan", (Row(1, ("VM name", "cutover at")), Row(2, ("a", at))))
    waves = Sheet("Waves", (Row(1, ("wave", "starts at", "ends at")), Row(2, ("1", at, at))))
    problems = understand(Workbook("it", (plan, waves))).problems
    assert [problem.place for problem in problems] == ["Plan!B2", "Waves!B2", "Waves!C2"]
    assert all(f"the year {year}" in problem.cause for problem in problems)


def check(wanted: WantedPlan, names: set[str]) -> None:
    for problem in wanted.problems:
        name, _, cell = problem.place.rpartition("!")
        assert name in names, problem
        assert re.fullmatch(r"[A-Z]{0,3}[1-9]\d*(:[A-Z]{1,3}[1-9]\d*)?", cell), problem
        assert problem.cause
        assert len(problem.cause) < 1000, "what is wrong is not repeated at length"
    for row in wanted.rows:
        assert row.place().rpartition("!")[0] in names
        assert row.vm_name or row.vm_id or row.vm_uuid
    for wave in wanted.waves:
        assert wave.name


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from("VM name,;\t\"'=\r\n\x00\ufeffab"), max_size=80).map(
        lambda text: text.encode("utf-16") if len(text) % 3 else text.encode()
    )
    | st.lists(st.lists(st.text(max_size=5), max_size=4)).map(
        lambda rows: "\r\n".join(",".join(["VM name", *row]) for row in rows).encode("utf-8", "replace")
    )
)
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    with suppress(InvalidRequest):
        check(understand(read_here(data or b" ", "a.csv")), {"a.csv"})
