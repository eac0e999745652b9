"""What a file holds once it is read: sheets of typed cells, each with its address."""

from __future__ import annotations

from dataclasses import dataclass

TAKEN = (
    "Send an Excel workbook (.xlsx or .xlsm), a CSV file, a zip of the CSV files that RVTools writes, "
    "or a plain list of names, one a line."
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A cell that is a date, a time or a length of time: none of them has a zone. ISO 8601."""

    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A cell whose formula failed (#REF!), or has no stored value ("")."""

    text: str


Cell = str | int | float | bool | Moment | Fault | None  # a whole number is an int; None: empty


@dataclass(frozen=True, slots=True)
class Row:
    number: int  # as the file counts, from 1
    cells: tuple[Cell, ...]  # from column A; what is beyond is empty


@dataclass(frozen=True)
class Sheet:
    name: str
    rows: tuple[Row, ...]  # those that are not empty
    hidden_rows: frozenset[int] = frozenset()
    merged: tuple[str, ...] = ()  # "A1:B2"; the first cell has the value

    def place(self, row: int, column: int | None = None) -> str:
        return f"{self.name}!{'' if column is None else letters(column)}{row}"


@dataclass(frozen=True)
class Workbook:
    filename: str  # without folders, and short
    sheets: tuple[Sheet, ...]

    def sheet(self, name: str) -> Sheet | None:
        """By its name in any case."""
        return next((sheet for sheet in self.sheets if sheet.name.casefold() == name.casefold()), None)


def letters(column: int) -> str:
    """0 → A, 26 → AA."""
    text = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def column_number(text: str) -> int:
    """A → 0, AA → 26."""
    number = 0
    for letter in text:
        number = number * 26 + ord(letter) - 64
    return number - 1


def corners(area: str) -> tuple[int, int, int, int]:
    """ "B2:C5" → (2, 1, 5, 2): rows from 1, columns from 0."""
    first, _, last = area.partition(":")
    return *_corner(first), *_corner(last or first)


def _corner(address: str) -> tuple[int, int]:
    text = address.rstrip("0123456789")
    return int(address[len(text) :]), column_number(text)
