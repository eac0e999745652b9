"""An .xlsx: which sheets it has, a look through those that are read, and calamine for their cells."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from xml.etree.ElementTree import ParseError

import python_calamine as calamine
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from app.domain.errors import TooLarge, UnreadableSheet
from app.sheets.known import to_read
from app.sheets.limits import (
    FALLBACK_SHEETS,
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_ROWS,
    MAX_SHEET_NAME,
    MAX_SHEETS,
    MAX_TEXT,
    MIB,
)
from app.sheets.scan import Seen, scan, without_entities
from app.sheets.workbook import Cell, Fault, Moment, Row, Sheet, corners, letters
from app.sheets.zip_check import Package

_BROKEN = "Open it in a spreadsheet program, save it as .xlsx, and send that."
_EXACT = 1 << 53  # a larger number has lost digits in any sheet
_SMALL_PART = 8 * MIB
_MOST_MERGED = 10_000


def sheets(package: Package, path: str) -> Iterator[Sheet]:
    """Those that are known by name; where none is, the first ones that can be seen. `path`: the file, for calamine."""
    found = _sheets_of(package)
    for name in ("xl/sharedStrings.xml", "xl/styles.xml"):
        if name in package:
            for _ in without_entities(name, package.chunks(name)):
                pass
    wanted = to_read([name for name, _, _ in found])
    if not wanted:
        wanted = [name for name, _, visible in found if visible][:FALLBACK_SHEETS]
    seen = {name: scan(name, package.chunks(part)) for name, part, _ in found if name in wanted}
    try:
        with calamine.load_workbook(path) as book:
            for name in wanted:
                yield _sheet(name, book.get_sheet_by_name(name), seen[name])
    except calamine.PasswordError as error:
        raise UnreadableSheet(
            "the workbook is encrypted", "Save it without a password.", code="sheet_encrypted"
        ) from error
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise UnreadableSheet(f"the workbook cannot be read: {str(error)[:200]}", _BROKEN) from error


def _sheets_of(package: Package) -> list[tuple[str, str, bool]]:
    """(name, part, whether it can be seen) of each."""
    parts = {}
    for relation in _xml(package, "xl/_rels/workbook.xml.rels"):
        target = relation.get("Target", "")
        if relation.get("Type", "").endswith("/worksheet"):
            parts[relation.get("Id")] = posixpath.normpath(target[1:] if target[:1] == "/" else f"xl/{target}")
    found: list[tuple[str, str, bool]] = []
    for element in _xml(package, "xl/workbook.xml").findall(".//{*}sheet"):
        key = next((value for name, value in element.items() if name.endswith("}id")), None)
        part = parts.get(key)
        if part is not None and part in package:
            found.append((element.get("name", ""), part, element.get("state", "visible") == "visible"))
    if len(found) > MAX_SHEETS:
        raise TooLarge(f"it has {len(found):,} sheets; {MAX_SHEETS} are taken", "Leave out those that no VM is in.")
    if any(len(name) > MAX_SHEET_NAME for name, _, _ in found):
        raise UnreadableSheet(f"a sheet's name has more than {MAX_SHEET_NAME} characters", _BROKEN)
    if not found:
        raise UnreadableSheet("the workbook has no sheet", _BROKEN)
    return found


def _xml(package: Package, name: str):  # type: ignore[no-untyped-def]
    if name not in package:
        raise UnreadableSheet(f"the workbook has no {name}", _BROKEN)
    try:
        return fromstring(package.read(name, _SMALL_PART))
    except DefusedXmlException as error:
        raise UnreadableSheet(f"{name}: its XML defines entities", _BROKEN, code="sheet_unsafe") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UnreadableSheet(f"{name} within the workbook is broken: {error}", _BROKEN) from error


def _sheet(name: str, sheet: calamine.CalamineSheet, seen: Seen) -> Sheet:
    start, end = sheet.start, sheet.end
    if start is None or end is None:
        return Sheet(name, ())
    _check_extent(name, start, end)
    merged = (f"{letters(a[1])}{a[0] + 1}:{letters(b[1])}{b[0] + 1}" for a, b in sheet.merged_cell_ranges or ())
    faults: dict[int, dict[int, str]] = {}
    for address, text in seen.faults.items():
        row, column, *_ = corners(address)
        faults.setdefault(row, {})[column] = text
    rows = []
    for number, values in enumerate(sheet.iter_rows(), 1):
        cells = [_cell(value) for value in values]
        for column, text in faults.get(number, {}).items():
            if column < len(cells) and cells[column] is None:
                cells[column] = Fault(text)
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            _check_texts(name, number, cells)
            rows.append(Row(number, tuple(cells)))
    return Sheet(name, tuple(rows), frozenset(seen.hidden_rows), tuple(merged)[:_MOST_MERGED])


def _check_extent(name: str, start: tuple[int, int], end: tuple[int, int]) -> None:
    rows, columns = end[0] - start[0] + 1, end[1] - start[1] + 1
    place = f"{name}!{letters(end[1])}{end[0] + 1}"
    if end[0] >= MAX_ROWS or end[1] >= MAX_COLUMNS or rows * columns > MAX_CELLS:
        raise TooLarge(
            f"{name} has {rows:,} rows of {columns:,} columns, up to {place}; "
            f"{MAX_ROWS:,} rows, {MAX_COLUMNS:,} columns and {MAX_CELLS:,} cells are taken",
            "Delete what lies behind the last VM and the columns that are not needed, or send it in parts.",
            cell=place,
        )


def _check_texts(name: str, row: int, cells: list[Cell]) -> None:
    for column, cell in enumerate(cells):
        if isinstance(cell, str) and len(cell) > MAX_TEXT:
            place = f"{name}!{letters(column)}{row}"
            raise TooLarge(
                f"the text at {place} has {len(cell):,} characters; {MAX_TEXT:,} are taken, as by Excel",
                "Shorten it.",
                cell=place,
            )


def _cell(value: object) -> Cell:
    if isinstance(value, str):
        return value or None
    if isinstance(value, float):
        if value.is_integer() and abs(value) < _EXACT:
            return int(value)
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return Moment(value.isoformat(" ", "seconds"))
    if isinstance(value, date | time):
        return Moment(value.isoformat())
    if isinstance(value, timedelta):
        return Moment(str(value))
    return None
