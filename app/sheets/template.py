"""The workbook that a plan is written in: a row for each VM, the waves, and what can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.plan import Wanted, Wave
from app.sheets.book import Book, finish_table, head, offer, write, write_lists
from app.sheets.cells import Written, row_cells, wave_cells
from app.sheets.columns import COLUMNS, LISTS_SHEET, SHEET, STATE_COLUMNS, WAVE_COLUMNS, WAVES_SHEET

FIRST_WAVE = (Wave(name="1"),)
_MOST_WAVES = 1000  # that the drop-down list of waves looks at
# The waves of the sheet Waves, as many as are there: whoever adds one finds it in the list.
_WAVES = f"=OFFSET({WAVES_SHEET}!$A$2,0,0,MAX(1,COUNTA({WAVES_SHEET}!$A$2:$A${_MOST_WAVES + 1})),1)"
_FROZEN = 1 + [column.field for column in COLUMNS].index("vm_name")


@dataclass(frozen=True)
class Choices:
    """What is registered, for the drop-down lists. `networks`: whole cells, as "VM Network=default"."""

    sources: Sequence[str] = ()
    targets: Sequence[str] = ()
    pools: Sequence[str] = ()
    networks: Sequence[str] = ()


def template(rows: Sequence[Wanted], choices: Choices, waves: Sequence[Wave] = FIRST_WAVE) -> bytes:
    """An xlsx. What a row does not say is left empty."""
    return workbook(rows, choices, waves)


def workbook(
    rows: Sequence[Wanted], choices: Choices, waves: Sequence[Wave], states: Sequence[Sequence[Written]] = ()
) -> bytes:
    """`states`: for each row the cells of STATE_COLUMNS."""
    book = Book()
    plan = book.sheet(SHEET)
    head(book, plan, COLUMNS)
    columns = COLUMNS
    if states:
        head(book, plan, STATE_COLUMNS, look="state_head", first=len(COLUMNS))
        columns += STATE_COLUMNS
    looks = [book.look("number" if column.number else "text") for column in columns]
    for number, row in enumerate(rows, 1):
        cells = [*row_cells(row), *(states[number - 1] if states else ())]
        for place, (cell, look) in enumerate(zip(cells, looks, strict=True)):
            if cell is not None:
                write(plan, number, place, cell, look)
    finish_table(plan, len(rows), len(columns), frozen=_FROZEN)

    wave_sheet = book.sheet(WAVES_SHEET)
    head(book, wave_sheet, WAVE_COLUMNS)
    for number, wave in enumerate(waves, 1):
        for place, (cell, column) in enumerate(zip(wave_cells(wave), WAVE_COLUMNS, strict=True)):
            write(wave_sheet, number, place, cell, book.look("number" if column.number else "text"))
    finish_table(wave_sheet, len(waves), len(WAVE_COLUMNS))

    lists = write_lists(book, LISTS_SHEET, _lists(choices))
    for sheet, count, those in ((plan, len(rows), COLUMNS), (wave_sheet, len(waves), WAVE_COLUMNS)):
        for place, column in enumerate(those):
            formula = _WAVES if column.offered == "waves" else lists.get(column.header)
            if formula:
                offer(sheet, place, count, column, formula)
    return book.finish()


def _lists(choices: Choices) -> dict[str, Sequence[str]]:
    lists: dict[str, Sequence[str]] = {}
    for column in (*COLUMNS, *WAVE_COLUMNS):
        if column.choices:
            lists[column.header] = column.choices
        elif column.offered and column.offered != "waves":
            lists[column.header] = getattr(choices, column.offered)
    return lists
