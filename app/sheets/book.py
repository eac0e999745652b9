"""Workbooks that we write: text is text, never a formula, a number or a link."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range, xl_rowcol_to_cell
from xlsxwriter.worksheet import Worksheet

from app.sheets.cells import Written
from app.sheets.columns import Column

Look = Literal["head", "state_head", "text", "number", "error", "warning", "link", "prose"]

_NOTE_WIDTH = 280  # pixels
_MOST_NOTE = 2000  # characters
LAST_ROW = 1_048_575  # of any sheet, from 0
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
_MOST_NAME = 31  # UTF-16 code units, which Excel calls characters


class Book:
    """In memory, which costs some 300 bytes a cell; with a folder for its rows nearly none, but then cells and notes
    have to be written row by row.
    """

    def __init__(self, folder: str = "") -> None:
        self._bytes = BytesIO()
        where = {"constant_memory": True, "tmpdir": folder} if folder else {"in_memory": True}
        self._book = xlsxwriter.Workbook(self._bytes, where)
        self._formats: dict[Look, Format] = {}

    def look(self, look: Look) -> Format:
        if look not in self._formats:
            self._formats[look] = self._book.add_format(_LOOKS[look])
        return self._formats[look]

    def sheet(self, name: str) -> Worksheet:
        """A new one by that name, or by one like it that Excel takes and that is not there yet."""
        taken = {sheet.get_name().casefold() for sheet in self._book.worksheets()}
        wished = _begin(_NOT_IN_NAMES.sub("_", name).strip("'"), _MOST_NAME).rstrip("'") or "Sheet"
        if wished.casefold() == "history":  # Excel keeps that name for itself
            wished += "_"
        free, number = wished, 1
        while free.casefold() in taken:
            number += 1
            suffix = f" ({number})"
            free = _begin(wished, _MOST_NAME - len(suffix)) + suffix
        return self._book.add_worksheet(free)

    def finish(self) -> bytes:
        self._book.close()
        return self._bytes.getvalue()


def headers(book: Book, sheet: Worksheet, columns: Sequence[Column], *, look: Look = "head", first: int = 0) -> None:
    """Headers with their help, and the columns below them, from column `first` on."""
    for number, column in enumerate(columns, first):
        sheet.set_column(number, number, width_of(column), book.look("number" if column.number else "text"))
        sheet.write_string(0, number, column.header, book.look(look))
        note(sheet, 0, number, help_of(column))


def width_of(column: Column) -> int:
    """With room for the button of the filter beside the header."""
    return max(column.width, len(column.header) + 4)


def help_of(column: Column) -> str:
    return f"{column.header}\n{column.help}"


def settle(sheet: Worksheet, rows: int, columns: int, *, frozen: int = 0) -> None:
    """A sheet with its headers in the first row, which stays in sight, and so do the first columns."""
    sheet.freeze_panes(1, frozen)
    sheet.autofilter(0, 0, max(rows, 1), max(columns - 1, 0))
    sheet.ignore_errors({"number_stored_as_text": xl_range(0, 0, LAST_ROW, max(columns - 1, 0))})
    sheet.set_landscape()
    sheet.repeat_rows(0)


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
    text = _visible(text[:_MOST_NOTE])
    lines = sum(1 + len(line) // 44 for line in text.split("\n"))
    look = {"width": _NOTE_WIDTH, "height": 16 * lines + 12, "font_size": 9, "author": "vmferry"}
    sheet.write_comment(row, column, text, look)


def link(book: Book, sheet: Worksheet, row: int, column: int, text: str, *, to: tuple[str, int, int]) -> None:
    """`text` in a cell that leads to another: `to` is its sheet, its row and its column."""
    name, *cell = to
    quoted = name.replace("'", "''")
    where = f"internal:'{quoted}'!{xl_rowcol_to_cell(*cell)}"
    sheet.write_url(row, column, where, book.look("link"), _visible(text))


def _visible(text: str) -> str:
    """For where a workbook has no escapes for control characters."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", cell_text(text))


def _begin(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore")
