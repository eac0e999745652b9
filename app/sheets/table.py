"""The table of a sheet: the row that has its headers, and the records below it, each value with its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from app.domain.plan import Problem
from app.domain.spelling import plain
from app.sheets.known import squeezed
from app.sheets.values import Wrong, is_number, text
from app.sheets.workbook import Cell, Row, Sheet, corners

_LOOKED_AT = 20  # rows in which headers may stand
_MOST_TOLD = 5  # rows that a warning lists
_MOST_CAUSE = 400  # characters: a header, or a name, may have thousands

T = TypeVar("T")


class Places(Mapping[str, str]):
    """field → "Plan!I14", "" → "Plan!14"; made when asked for, for there are many."""

    def __init__(self, sheet: Sheet, row: int, columns: Mapping[str, int]) -> None:
        self._sheet = sheet
        self._row = row
        self._columns = columns

    def __getitem__(self, name: str) -> str:
        return self._sheet.place(self._row, self._columns[name] if name else None)

    def __iter__(self) -> Iterator[str]:
        return iter(("", *self._columns))

    def __len__(self) -> int:
        return len(self._columns) + 1


@dataclass(frozen=True)
class Record:
    table: Table
    row: Row

    @property
    def places(self) -> Places:
        return Places(self.table.sheet, self.row.number, self.table.columns)

    def place(self, name: str = "") -> str:
        return self.table.sheet.place(self.row.number, self.table.columns.get(name))

    def cell(self, name: str) -> Cell:
        column = self.table.columns.get(name)
        return None if column is None or column >= len(self.row.cells) else self.row.cells[column]

    def value(self, name: str, how: Callable[[Cell], T], default: T) -> T:
        """What `how` makes of the cell; where that is wrong, a problem is noted and `default` returned."""
        try:
            return how(self.cell(name))
        except Wrong as wrong:
            header = self.table.headers[name]
            self.table.note(self.place(name), f"{header}: {wrong.cause}", wrong.fix, code=wrong.code)
            return default

    def doubt_number(self, name: str, *, error: bool) -> None:
        """A name in a cell of numbers has lost the zeros that it may have begun with."""
        cell = self.cell(name)
        if is_number(cell):
            cause = f"{self.table.headers[name]}: {text(cell)} is a number: zeros that it began with are lost"
            fix = "Format the cell as text, and write the name anew."
            self.table.note(self.place(name), cause, fix, error=error, code="name_is_number")


@dataclass
class Table:
    """`columns`: field → where it is, from 0; `headers`: field → as it is written there."""

    sheet: Sheet
    header: Row
    columns: dict[str, int]
    headers: dict[str, str]
    problems: list[Problem] = field(default_factory=list)

    def note(self, place: str, cause: str, fix: str = "", *, error: bool = True, code: str = "invalid_value") -> None:
        if len(cause) > _MOST_CAUSE:
            cause = cause[: _MOST_CAUSE - 1] + "…"
        self.problems.append(Problem(place, cause, fix, "error" if error else "warning", code))

    def records(self) -> Iterator[Record]:
        """Rows below the headers in which anything known stands; headers that stand there once more are left out."""
        used = sorted(self.columns.values())
        shown = [_header(self.header, column) for column in used]
        for row in self.sheet.rows:
            if row.number <= self.header.number:
                continue
            if any(column < len(row.cells) and _filled(row.cells[column]) for column in used):
                if len(used) > 1 and all(_header(row, column) == shown[at] for at, column in enumerate(used)):
                    continue
                yield Record(self, row)

    def check(self) -> None:
        """Warn of what people do not see, or see otherwise: hidden rows, merged cells."""
        hidden = [row.number for row in self.sheet.rows if row.number in self.sheet.hidden_rows]
        if hidden:
            self.note(
                self.sheet.place(hidden[0]),
                f"hidden rows count too: {listed(hidden)}",
                "Delete those that shall not count.",
                error=False,
                code="rows_hidden",
            )
        known = set(self.columns.values())
        for area in self.sheet.merged:
            top, left, bottom, right = corners(area)
            if bottom > self.header.number and known & set(range(left, right + 1)) and (bottom > top or right > left):
                first = self.sheet.place(top, left).rpartition("!")[2]
                self.note(
                    f"{self.sheet.name}!{area}",
                    f"merged cells: only {first} has a value, the others are empty",
                    "Unmerge them, and write the value into each.",
                    error=False,
                    code="cells_merged",
                )


def find(sheet: Sheet, fields: Mapping[str, str], needed: Callable[[Collection[str]], bool]) -> Table | None:
    """The table whose headers are `fields`: squeezed header → field. Its headers are the row, of the first ones, that
    has most of them; None where none of them has what is `needed`. Of a header that is there twice the first counts.
    """
    best: Table | None = None
    for row in sheet.rows[:_LOOKED_AT]:
        columns: dict[str, int] = {}
        headers: dict[str, str] = {}
        for column in range(len(row.cells)):
            name = fields.get(squeezed(_header(row, column)))
            if name and name not in columns:
                columns[name] = column
                headers[name] = _header(row, column)
        if needed(columns) and (best is None or len(columns) > len(best.columns)):
            best = Table(sheet, row, columns, headers)
    return best


def unknown_headers(
    table: Table, fields: Mapping[str, str], left_alone: Iterable[str] = ()
) -> Iterator[tuple[str, str, str]]:
    """(place, header, field or "") of those that are not read: twice there, or not known."""
    known = set(table.columns.values())
    alone = set(left_alone)
    for column in range(len(table.header.cells)):
        header = _header(table.header, column)
        if header and column not in known and squeezed(header) not in alone:
            yield table.sheet.place(table.header.number, column), header, fields.get(squeezed(header), "")


def listed(rows: Sequence[int]) -> str:
    """ "3, 4, 9 and 12 more" """
    shown = ", ".join(map(str, rows[:_MOST_TOLD]))
    return shown if len(rows) <= _MOST_TOLD else f"{shown} and {len(rows) - _MOST_TOLD:,} more"


def _header(row: Row, column: int) -> str:
    cell = row.cells[column] if column < len(row.cells) else None
    return plain(cell) if isinstance(cell, str) else ""


def _filled(cell: Cell) -> bool:
    return cell is not None and not (isinstance(cell, str) and not plain(cell))
