"""The workbook that somebody sent, back with its problems: red and amber cells with notes, and a sheet of them all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple

from xlsxwriter.worksheet import Worksheet

from app.domain.plan import Problem
from app.sheets.book import LAST_ROW, Book, Look, headers, help_of, link, note, settle, width_of, write
from app.sheets.cells import Written
from app.sheets.columns import (
    COLUMNS,
    LISTS_SHEET,
    PROBLEM_COLUMNS,
    PROBLEMS_SHEET,
    SHEET,
    STATE_COLUMNS,
    WAVE_COLUMNS,
    WAVES_SHEET,
    Column,
)
from app.sheets.lists import NOTHING, Choices, Lists
from app.sheets.workbook import Cell, Fault, Moment, Sheet, Workbook, column_number

_NOTES = 20_000  # cells of a sheet that get one: with more, programs are slow to open it
_LINKS = 60_000  # Excel takes 65,530 in a sheet
_NOTED = 10  # problems in one of them
_MEASURED = 200  # rows that the widths of columns are taken from
_CELL = re.compile(r"([A-Z]{0,3})([1-9][0-9]{0,6})(?::[A-Z]{1,3}[0-9]{1,7})?")
_OURS = {PROBLEMS_SHEET.casefold(), LISTS_SHEET.casefold()}
_KNOWN = {SHEET.casefold(): (*COLUMNS, *STATE_COLUMNS), WAVES_SHEET.casefold(): WAVE_COLUMNS}

Marks = dict[int, dict[int, list[Problem]]]  # row → column → its problems, both from 0


class Copy(NamedTuple):
    """A sheet as it was written. `columns`: those that we know, by their number."""

    sheet: Worksheet
    columns: Mapping[int, Column]
    rows: int


def annotate(workbook: Workbook, problems: Sequence[Problem], choices: Choices = NOTHING) -> bytes:
    """An xlsx with the same cells at the same places. Once mended, it can be sent as it is."""
    marks = _marks(problems)
    with TemporaryDirectory(prefix="vmferry-sheet-") as folder:  # there may be millions of cells
        book = Book(folder)
        copies: dict[str, Copy] = {}
        for sheet in workbook.sheets:
            name = sheet.name.casefold()
            if name not in _OURS:
                copies[name] = _copy(book, sheet, marks.get(name, {}))
        if any(copy.columns for copy in copies.values()):
            lists = Lists(book, choices, waves=WAVES_SHEET.casefold() in copies)
            for copy in copies.values():
                for place, column in copy.columns.items():
                    lists.offer(copy.sheet, place, column, copy.rows)
        _list(book, problems, copies)
        return book.finish()


def _marks(problems: Iterable[Problem]) -> dict[str, Marks]:
    """By sheet. What has no cell is in the list only."""
    marks: dict[str, Marks] = {}
    for problem in problems:
        if cell := _cell(problem.place):
            name, row, column = cell
            marks.setdefault(name, {}).setdefault(row, {}).setdefault(column, []).append(problem)
    return marks


def _cell(place: str) -> tuple[str, int, int] | None:
    """ "Plan!I14" → ("plan", 13, 8); a row or an area is its first cell."""
    name, _, address = place.rpartition("!")
    found = _CELL.fullmatch(address)
    if not (name and found and int(found[2]) <= LAST_ROW):
        return None
    return name.casefold(), int(found[2]) - 1, column_number(found[1] or "A")


def _copy(book: Book, sheet: Sheet, marks: Marks) -> Copy:
    copy = book.sheet(sheet.name)
    rows = {row.number - 1: row.cells for row in sheet.rows}
    first = rows.get(0, ())
    has_head = len(first) > 1 and all(isinstance(cell, str) for cell in first)
    columns = _columns(sheet.name, first) if has_head else {}
    widths = _widths(rows.values())
    for place, width in enumerate(widths):
        known = columns.get(place)
        number = known is not None and known.number
        copy.set_column(place, place, width_of(known) if known else width, book.look("number" if number else "text"))
    notes = 0
    for row in sorted(rows.keys() | marks.keys()):
        cells, marked = rows.get(row, ()), marks.get(row, {})
        for place in sorted({*range(len(cells)), *marked}):
            cell = cells[place] if place < len(cells) else None
            if cell is not None or place in marked:
                head = _head(columns.get(place)) if has_head and row == 0 else None
                look = _look(cell, marked.get(place, ()), head)
                write(copy, row, place, _written(cell), book.look(look))
            if place in marked and notes < _NOTES:
                note(copy, row, place, _told(marked[place]))
                notes += 1
            elif row == 0 and place in columns:
                note(copy, row, place, help_of(columns[place]))
    if has_head:
        name = next((place for place, column in columns.items() if column.field == "vm_name"), -1)
        settle(copy, max(rows), len(widths), frozen=name + 1)
    return Copy(copy, columns, max(rows, default=0))


def _columns(sheet: str, first: Sequence[Cell]) -> dict[int, Column]:
    known = {column.header.casefold(): column for column in _KNOWN.get(sheet.casefold(), ())}
    return {place: known[text] for place, cell in enumerate(first) if (text := str(cell).strip().casefold()) in known}


def _widths(rows: Iterable[Sequence[Cell]]) -> list[int]:
    widths: list[int] = []
    for number, cells in enumerate(rows):
        widths += [8] * (len(cells) - len(widths))
        if number < _MEASURED:
            widths[: len(cells)] = [
                min(max(width, len(str(_written(cell) or "")) + 2), 40)
                for width, cell in zip(widths, cells, strict=False)
            ]
    return widths


def _look(cell: Cell, problems: Sequence[Problem], head: Look | None) -> Look:
    if problems:
        return "error" if any(problem.severity == "error" for problem in problems) else "warning"
    return head or ("number" if isinstance(cell, int | float) else "text")


def _head(column: Column | None) -> Look:
    return "state_head" if column in STATE_COLUMNS else "head"


def _written(cell: Cell) -> Written:
    """A date becomes text, to which a zone can be added. A formula's fault stays one, lest it be taken for nothing."""
    if isinstance(cell, Fault):
        return cell.text or "#N/A"
    return cell.text if isinstance(cell, Moment) else cell


def _told(problems: Sequence[Problem]) -> str:
    told = [f"{problem.severity.capitalize()}: {problem.cause}\n{problem.fix}".rstrip() for problem in problems]
    more = [f"and {len(told) - _NOTED} more"] if len(told) > _NOTED else []
    return "\n\n".join([*told[:_NOTED], *more])


def _list(book: Book, problems: Sequence[Problem], copies: Mapping[str, Copy]) -> None:
    sheet = book.sheet(PROBLEMS_SHEET)
    headers(book, sheet, PROBLEM_COLUMNS)
    for row, problem in enumerate(problems, 1):
        write(sheet, row, 0, problem.severity, book.look(problem.severity))
        cell = _cell(problem.place)
        copy = copies.get(cell[0]) if cell else None
        if cell and copy and row <= _LINKS:
            link(book, sheet, row, 1, problem.place, to=(copy.sheet.get_name(), cell[1], cell[2]))
        else:
            write(sheet, row, 1, problem.place, book.look("text"))
        write(sheet, row, 2, problem.cause, book.look("prose"))
        write(sheet, row, 3, problem.fix, book.look("prose"))
    settle(sheet, len(problems), len(PROBLEM_COLUMNS))
    if problems:
        sheet.activate()
