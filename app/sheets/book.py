"""Workbooks that we write, all in memory: text is text, never a formula, a number or a link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Literal

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range_abs
from xlsxwriter.worksheet import Worksheet

from app.sheets.cells import Written
from app.sheets.columns import Column

Look = Literal["head", "state_head", "text", "number", "error", "warning", "link", "prose"]

SPARE_ROWS = 1000  # below the last one, where somebody may add some: drop-down lists go so far
_NOTE_WIDTH = 280  # pixels
_MOST_NOTE = 2000  # characters
_LAST_ROW = 1_048_575  # of any sheet, from 0
_LOOKS: dict[Look, dict[str, object]] = {
    "head": {"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F4E78", "valign": "vcenter"},
    "state_head": {"bold": True, "font_color": "#FFFFFF", "bg_color": "#595959", "valign": "vcenter"},
    "text": {"num_format": "@", "valign": "top"},
    "number": {"valign": "top"},
    "error": {"num_format": "@", "bg_color": "#FFC7CE", "font_color": "#9C0006", "valign": "top"},
    "warning": {"num_format": "@", "bg_color": "#FFEB9C", "font_color": "#7F6000", "valign": "top"},
    "link": {"font_color": "#0563C1", "underline": 1, "valign": "top"},
    "prose": {"text_wrap": True, "valign": "top"},
}
_NOT_IN_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")
_UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_NOT_IN_NAMES = re.compile("[\\[\\]:*?/\\\\\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_MOST_NAME = 31  # characters of a sheet's


class Book:
    def __init__(self) -> None:
        self._bytes = BytesIO()
        self._book = xlsxwriter.Workbook(self._bytes, {"in_memory": True})
        self._formats: dict[Look, Format] = {}

    def look(self, look: Look) -> Format:
        if look not in self._formats:
            self._formats[look] = self._book.add_format(_LOOKS[look])
        return self._formats[look]

    def sheet(self, name: str) -> Worksheet:
        """A new one by that name, or by one like it that Excel takes and that is not there yet."""
        taken = {sheet.get_name().casefold() for sheet in self._book.worksheets()}
        wished = _NOT_IN_NAMES.sub("_", name).strip("'")[:_MOST_NAME] or "Sheet"
        if wished.casefold() == "history":  # Excel keeps that name for itself
            wished += "_"
        free, number = wished, 1
        while free.casefold() in taken:
            number += 1
            suffix = f" ({number})"
            free = wished[: _MOST_NAME - len(suffix)] + suffix
        return self._book.add_worksheet(free)

    def finish(self) -> bytes:
        self._book.close()
        return self._bytes.getvalue()


def head(book: Book, sheet: Worksheet, columns: Sequence[Column], *, look: Look = "head", first: int = 0) -> None:
    """Headers with their help, and the columns below them, from column `first` on."""
    for number, column in enumerate(columns, first):
        sheet.set_column(number, number, column.width, book.look("number" if column.number else "text"))
        sheet.write_string(0, number, column.header, book.look(look))
        if column.help:
            note(sheet, 0, number, f"{column.header}\n{column.help}")


def finish_table(sheet: Worksheet, rows: int, columns: int, *, frozen: int = 0) -> None:
    """A sheet with its headers in the first row, which stays in sight, and so do the first columns."""
    sheet.set_row(0, 20)
    sheet.freeze_panes(1, frozen)
    sheet.autofilter(0, 0, max(rows, 1), max(columns - 1, 0))
    sheet.ignore_errors({"number_stored_as_text": xl_range_abs(0, 0, _LAST_ROW, max(columns - 1, 0)).replace("$", "")})
    sheet.set_landscape()
    sheet.repeat_rows(0)


def offer(sheet: Worksheet, number: int, rows: int, column: Column, formula: str) -> None:
    """A drop-down list in a column. `formula`: the cells that hold what it offers."""
    rule: dict[str, object] = {"validate": "list", "source": formula}
    if column.choices:
        rule |= {"error_title": "Not in the list", "error_message": column.help[:250]}
    else:
        rule |= {"show_error": False}
    sheet.data_validation(1, number, min(rows + SPARE_ROWS, _LAST_ROW), number, rule)


def write_lists(book: Book, name: str, lists: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """A sheet of lists, each below its header. Returns header → the formula of its cells, for those with any."""
    sheet = book.sheet(name)
    formulas = {}
    for number, (header, values) in enumerate(lists.items()):
        sheet.set_column(number, number, 24, book.look("text"))
        sheet.write_string(0, number, header, book.look("head"))
        count = 0
        for count, value in enumerate(values, 1):
            write(sheet, count, number, value, book.look("text"))
        if count:
            formulas[header] = f"={name}!{xl_range_abs(1, number, count, number)}"
    sheet.freeze_panes(1, 0)
    return formulas


def write(sheet: Worksheet, row: int, column: int, value: Written, look: Format) -> None:
    """Row and column from 0."""
    if value is None or value == "":
        sheet.write_blank(row, column, None, look)
    elif isinstance(value, str):
        sheet.write_string(row, column, cell_text(value), look)
    elif isinstance(value, bool):
        sheet.write_boolean(row, column, value, look)
    elif abs(value) < 2**53:  # a NaN is not
        sheet.write_number(row, column, value, look)
    else:
        sheet.write_string(row, column, str(value), look)


def cell_text(text: str) -> str:
    """Without the few characters that no workbook can hold."""
    return _NOT_IN_XML.sub("", text)


def note(sheet: Worksheet, row: int, column: int, text: str) -> None:
    """What is shown while a pointer rests on the cell."""
    text = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", cell_text(text[:_MOST_NOTE]))
    lines = sum(1 + len(line) // 44 for line in text.split("\n"))
    look = {"width": _NOTE_WIDTH, "height": 16 * lines + 12, "font_size": 9, "author": "vmferry"}
    sheet.write_comment(row, column, text, look)
