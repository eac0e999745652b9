"""The template, as openpyxl reads it back."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from time import process_time

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from app.domain.plan import Gate, Wanted, Wave
from app.sheets.columns import COLUMNS, WAVE_COLUMNS
from app.sheets.lists import Choices
from app.sheets.template import template

CHOICES = Choices(
    sources=("vc01",), targets=("kvm01", "kvm02"), pools=("default", "ssd"), networks=("VM Network=default",)
)
ROW = Wanted(wave="1", source="vc01", vm_name="00123", vm_id="vm-7", vm_uuid="423", target="kvm01")


def written(rows: list[Wanted], waves: tuple[Wave, ...] = (Wave(name="1"),)) -> Workbook:
    return load_workbook(BytesIO(template(rows, CHOICES, waves)))


def column(header: str, columns: tuple = COLUMNS) -> int:  # type: ignore[type-arg]
    return 1 + [each.header for each in columns].index(header)


def rule(sheet: Worksheet, cell: str) -> DataValidation:
    (found,) = [each for each in sheet.data_validations.dataValidation if cell in each.sqref]
    return found


def test_a_row_is_as_it_was_given() -> None:
    book = written([ROW])
    assert book.sheetnames == ["Plan", "Waves", "Lists"]
    head, row = book["Plan"].iter_rows(values_only=True)
    assert list(head) == [each.header for each in COLUMNS]
    told = {header: value for header, value in zip(head, row, strict=True) if value is not None}
    assert told == {
        "include": "yes",
        "wave": "1",
        "source": "vc01",
        "VM name": "00123",
        "VM id": "vm-7",
        "VM UUID": "423",
        "target": "kvm01",
    }


def test_every_value_has_its_cell() -> None:
    row = Wanted(
        include=False,
        order=3,
        networks={"VM Network": "default", "a;b": "bridge:br0"},
        keep_mac=True,
        cpus=4,
        memory_bytes=8 << 30,
        cutover_at=datetime(2026, 12, 5, 21, tzinfo=UTC),
        power_on=False,
        test_first=False,
        depends_on=("db01", "vm-7"),
    )
    head, cells = written([row])["Plan"].iter_rows(values_only=True)
    told = {header: value for header, value in zip(head, cells, strict=True) if value is not None}
    assert told == {
        "include": "no",
        "order": 3,
        "networks": 'VM Network=default; "a;b"=bridge:br0',
        "keep MAC": "yes",
        "CPU": 4,
        "memory": "8 GiB",
        "cutover at": "2026-12-05 21:00 UTC",
        "power on after": "no",
        "test first": "no",
        "depends on": "db01; vm-7",
    }


def test_waves_are_rows_of_their_own_sheet() -> None:
    at = datetime(2026, 12, 5, 21, 0, 30, tzinfo=UTC)
    waves = (Wave(name="=1", starts_at=at, at_once=4, gate=Gate.MANUAL), Wave(name="2", ends_at=at, stop_after=1))
    head, *rows = written([], waves)["Waves"].iter_rows(values_only=True)
    assert list(head) == [each.header for each in WAVE_COLUMNS]
    assert rows == [
        ("=1", "2026-12-05 21:00:30 UTC", None, 4, None, "manual"),
        ("2", None, "2026-12-05 21:00:30 UTC", None, 1, "none"),
    ]


def test_what_is_typed_into_a_column_of_text_stays_text() -> None:
    dimensions = written([ROW])["Plan"].column_dimensions.values()  # one for neighbours that are alike
    for number, each in enumerate(COLUMNS, 1):
        (dimension,) = [found for found in dimensions if found.min <= number <= found.max]
        assert dimension.number_format == ("General" if each.number else "@")
        assert dimension.width >= max(each.width, len(each.header) + 3)


def test_a_formula_stays_text() -> None:
    hostile = ["=1+1", "+1", "-1", "@x", "=HYPERLINK(1)", "http://x/", "1e5", "{=1}", "  a ", "\xa0=1", "#REF!", "TRUE"]
    book = written([Wanted(vm_name=name) for name in hostile])
    cells = [row[column("VM name") - 1] for row in book["Plan"].iter_rows(min_row=2)]
    assert [cell.value for cell in cells] == hostile
    assert {cell.data_type for cell in cells[:-2]} == {"s"}
    assert {cell.number_format for cell in cells} == {"@"}
    assert not any(cell.hyperlink for cell in cells)


@pytest.mark.parametrize("name", ["a\x00\x01\x1fb", "\ud800", "\ufffe\uffff", "x" * 100_000, "😀" * 20_000, "_x0041_"])
def test_no_text_breaks_the_workbook(name: str) -> None:
    row = Wanted(vm_name=name, vm_id="vm-7", networks={name: name}, notes=name)
    assert written([row], (Wave(name="1"),))["Plan"].cell(2, column("VM id")).value == "vm-7"


def test_every_header_has_help_that_can_be_read() -> None:
    book = written([ROW])
    for sheet, columns in (("Plan", COLUMNS), ("Waves", WAVE_COLUMNS)):
        for number, each in enumerate(columns, 1):
            comment = book[sheet].cell(1, number).comment
            assert comment is not None
            assert each.help in comment.text


def test_headers_stay_in_sight_and_filter() -> None:
    sheet = written([ROW, ROW])["Plan"]
    assert sheet.freeze_panes == "F2"  # behind the name
    assert sheet.auto_filter.ref == f"A1:{get_column_letter(len(COLUMNS))}3"
    assert sheet.cell(1, 1).font.b


def test_lists_offer_what_there_is() -> None:
    book = written([ROW])
    plan, lists = book["Plan"], book["Lists"]
    offered = {cells[0]: [value for value in cells[1:] if value] for cells in lists.iter_cols(values_only=True)}
    assert offered["pool"] == ["default", "ssd"]
    assert offered["strategy"] == ["cold", "disk_only"]
    for header, values in offered.items():
        sheet, columns = (book["Waves"], WAVE_COLUMNS) if header == "gate" else (plan, COLUMNS)
        letter = get_column_letter(column(header, columns))
        found = rule(sheet, f"{letter}2")
        assert f"{letter}900" in found.sqref, "rows that somebody adds have it, too"
        area = found.formula1.removeprefix("Lists!").replace("$", "")
        cells = lists[area] if ":" in area else ((lists[area],),)
        assert [cell.value for (cell,) in cells] == values
        assert found.showErrorMessage is (columns[column(header, columns) - 1].offered == "")


def test_the_list_of_waves_is_the_sheet_of_waves() -> None:
    sheet = written([ROW])["Plan"]
    found = rule(sheet, "B2")
    assert "Waves!$A$2" in found.formula1
    assert not found.showErrorMessage


def test_nothing_registered_is_no_empty_list() -> None:
    book = load_workbook(BytesIO(template([], Choices())))
    letter = get_column_letter(column("pool"))
    assert not any(f"{letter}2" in each.sqref for each in book["Plan"].data_validations.dataValidation)
    assert book["Plan"].max_row == 1


def test_ten_thousand_rows_take_seconds() -> None:
    rows = [
        Wanted(source="vc01", vm_name=f"app-{n}", vm_id=f"vm-{n}", vm_uuid=f"{n:036d}", networks={"a": "b"})
        for n in range(10_000)
    ]
    start = process_time()
    data = template(rows, CHOICES)
    assert process_time() - start < 10
    assert len(data) < 2_000_000
