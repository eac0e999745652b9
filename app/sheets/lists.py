"""The drop-down lists of a plan's sheets: what is fixed, and what is registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlsxwriter.utility import xl_range_abs
from xlsxwriter.worksheet import Worksheet

from app.sheets.book import LAST_ROW, Book, write
from app.sheets.columns import COLUMNS, LISTS_SHEET, WAVE_COLUMNS, WAVES_SHEET, Column

_SPARE_ROWS = 1000  # below the last one, where somebody may add some
_MOST_WAVES = 1000  # that are looked at
# The rows of the sheet Waves, as many as there are: a wave that is added there is in the list.
_WAVES = f"=OFFSET({WAVES_SHEET}!$A$2,0,0,MAX(1,COUNTA({WAVES_SHEET}!$A$2:$A${_MOST_WAVES + 1})),1)"


@dataclass(frozen=True)
class Choices:
    """What is registered. `networks`: whole cells, as "VM Network=default"."""

    sources: Sequence[str] = ()
    targets: Sequence[str] = ()
    pools: Sequence[str] = ()
    networks: Sequence[str] = ()


NOTHING = Choices()


class Lists:
    """A sheet with a column for each list, below the header of the column that it is for."""

    def __init__(self, book: Book, choices: Choices, *, waves: bool = True) -> None:
        self._formulas = {"waves": _WAVES} if waves else {}
        sheet = book.sheet(LISTS_SHEET)
        listed = [column for column in (*COLUMNS, *WAVE_COLUMNS) if column.choices or hasattr(choices, column.offered)]
        columns = [(column, column.choices or getattr(choices, column.offered)) for column in listed]
        for place, (column, _) in enumerate(columns):
            sheet.set_column(place, place, 24, book.look("text"))
            sheet.write_string(0, place, column.header, book.look("head"))
        for row in range(max(len(values) for _, values in columns)):
            for place, (_, values) in enumerate(columns):
                if row < len(values):
                    write(sheet, row + 1, place, values[row], book.look("text"))
        for place, (column, values) in enumerate(columns):
            if values:
                self._formulas[column.header] = f"={sheet.get_name()}!{xl_range_abs(1, place, len(values), place)}"
        sheet.freeze_panes(1, 0)

    def offer(self, sheet: Worksheet, place: int, column: Column, rows: int) -> None:
        """The list of a column that stands at `place`, for all its rows and some more."""
        formula = self._formulas.get("waves" if column.offered == "waves" else column.header)
        if formula is None:
            return
        rule: dict[str, object] = {"validate": "list", "source": formula}
        if column.choices:
            rule |= {"error_title": "Not in the list", "error_message": column.help[:250]}
        else:
            rule |= {"show_error": False}
        sheet.data_validation(1, place, min(rows + _SPARE_ROWS, LAST_ROW), place, rule)
