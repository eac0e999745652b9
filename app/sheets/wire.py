"""What the reading child says and its parent hears: lines of JSON, cut into pieces where they are long.

{"sheet": name, "hidden": [[first, last], …], "merged": ["A1:B2", …]}
[row, [cell, …]]            for each row of it that is not empty
{"end": sheets}             all was said
{"refused": {kind, code, message, remedy, fields}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from app.domain.errors import InvalidRequest, TooLarge, UnreadableSheet
from app.sheets.limits import MAX_ANSWER, MAX_CELLS_IN_ALL, MAX_MEMORY, MIB
from app.sheets.workbook import Cell, Fault, Moment, Row, Sheet

_LESS = "Leave out the sheets and columns that are not needed, or send it in parts."
_PIECE = 1 << 15  # app.output takes lines of twice that as they are
_KINDS: dict[str, type[InvalidRequest]] = {kind.__name__: kind for kind in (TooLarge, UnreadableSheet)}


def pieces(said: object) -> Iterator[str]:
    """The lines of one thing said: all but the last begin with "+"."""
    text = json.dumps(said, separators=(",", ":"), default=_encode)
    while len(text) > _PIECE:
        yield "+" + text[:_PIECE]
        text = text[_PIECE:]
    yield "=" + text


def heading(sheet: Sheet) -> object:
    return {"sheet": sheet.name, "hidden": list(spans(sheet.hidden_rows)), "merged": sheet.merged}


def refusal(error: InvalidRequest) -> object:
    kind = type(error).__name__
    said = {"code": error.code, "message": error.message, "remedy": error.remedy, "fields": error.fields}
    return {"refused": {"kind": kind, **said}}


def too_large() -> TooLarge:
    return TooLarge(
        f"reading it takes more than {MAX_MEMORY // MIB} MiB of memory",
        _LESS,
    )


class Answer:
    """What was heard so far. Raises what the child was refused by."""

    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self.whole = False
        self._piece: list[str] = []
        self._size = self._cells = 0
        self._known: dict[str, str] = {}  # one object for equal texts: most of a sheet's are
        self._rows: list[Row] = []
        self._head: dict[str, Any] = {}

    def hear(self, line: str) -> None:
        self._size += len(line)
        if self._size > MAX_ANSWER:
            raise TooLarge(f"the sheets hold more than {MAX_ANSWER // MIB} MiB of text", _LESS)
        self._piece.append(line[1:])
        if line.startswith("="):
            said = json.loads("".join(self._piece))
            self._piece.clear()
            self._take(said)

    def _take(self, said: Any) -> None:
        if isinstance(said, list):
            number, cells = said
            self._cells += len(cells)
            if self._cells > MAX_CELLS_IN_ALL:
                raise TooLarge(f"the sheets have more than {MAX_CELLS_IN_ALL:,} cells", _LESS)
            self._rows.append(Row(number, tuple([self._cell(cell) for cell in cells])))
        elif "refused" in said:
            told = said["refused"]
            raise _KINDS[told["kind"]](told["message"], told["remedy"], code=told["code"], **told["fields"])
        else:
            self._close()
            self._head = said
            self.whole = "end" in said

    def _close(self) -> None:
        if self._head:
            hidden = frozenset(n for first, last in self._head["hidden"] for n in range(first, last + 1))
            sheet = Sheet(str(self._head["sheet"]), tuple(self._rows), hidden, tuple(self._head["merged"]))
            self.sheets.append(sheet)
        self._rows = []

    def _cell(self, value: Any) -> Cell:
        if isinstance(value, str):
            return self._known.setdefault(value, value)
        if isinstance(value, dict):
            return Moment(value["moment"]) if "moment" in value else Fault(value["fault"])
        return value  # type: ignore[no-any-return]


def _encode(cell: object) -> object:
    return {"moment": cell.text} if isinstance(cell, Moment) else {"fault": cell.text}  # type: ignore[attr-defined]


def spans(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """{1, 2, 3, 7} → (1, 3), (7, 7)."""
    first = last = 0
    for number in sorted(numbers):
        if number != last + 1 or not first:
            if first:
                yield first, last
            first = number
        last = number
    if first:
        yield first, last
