"""The workbook that a plan is written in: a row for each VM, the waves, and what can be chosen."""

from __future__ import annotations

from collections.abc import Sequence

from xlsxwriter.worksheet import Worksheet

from app.domain.plan import Wanted, Wave
from app.sheets.book import Book, headers, settle, write
from app.sheets.cells import Written, row_cells, wave_cells
from app.sheets.columns import COLUMNS, SHEET, STATE_COLUMNS, WAVE_COLUMNS, WAVES_SHEET, Column
from app.sheets.lists import Choices, Lists

FIRST_WAVE = (Wave(name="1"),)
FROZEN = 1 + [column.field for column in COLUMNS].index("vm_name")  # columns that stay in sight


def template(rows: Sequence[Wanted], choices: Choices, waves: Sequence[Wave] = FIRST_WAVE) -> bytes:
    """An xlsx. What a row does not say is left empty."""
    return workbook(rows, choices, waves)


def workbook(
    rows: Sequence[Wanted], choices: Choices, waves: Sequence[Wave], states: Sequence[Sequence[Written]] = ()
) -> bytes:
    """`states`: for each row the cells of STATE_COLUMNS."""
    book = Book()
    plan, wave_sheet = book.sheet(SHEET), book.sheet(WAVES_SHEET)
    headers(book, plan, COLUMNS)
    if states:
        headers(book, plan, STATE_COLUMNS, look="state_head", first=len(COLUMNS))
    headers(book, wave_sheet, WAVE_COLUMNS)
    columns: tuple[Column, ...] = (*COLUMNS, *STATE_COLUMNS) if states else COLUMNS
    cells = [[*row_cells(row), *(states[number] if states else ())] for number, row in enumerate(rows)]
    waves_cells = [wave_cells(wave) for wave in waves]
    _fill(book, plan, columns, cells)
    _fill(book, wave_sheet, WAVE_COLUMNS, waves_cells)
    settle(plan, len(rows), len(columns), frozen=FROZEN)
    settle(wave_sheet, len(waves), len(WAVE_COLUMNS))
    lists = Lists(book, choices)
    for place, column in enumerate(COLUMNS):
        lists.offer(plan, place, column, len(rows))
    for place, column in enumerate(WAVE_COLUMNS):
        lists.offer(wave_sheet, place, column, len(waves))
    return book.finish()


def _fill(book: Book, sheet: Worksheet, columns: Sequence[Column], rows: Sequence[Sequence[Written]]) -> None:
    looks = [book.look("number" if column.number else "text") for column in columns]
    for number, row in enumerate(rows, 1):
        for place, (cell, look) in enumerate(zip(row, looks, strict=True)):
            if cell is not None:
                write(sheet, number, place, cell, look)
