"""The XML of one sheet, looked through before calamine sees it: how far its cells reach, and what calamine tells
nothing about. calamine makes room for all cells from the first to the last, and ends the process where it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.domain.errors import TooLarge, UnreadableSheet
from app.sheets.limits import MAX_COLUMNS, MAX_ROWS
from app.sheets.workbook import column_number, letters

_MOST_FAULTS = 10_000  # that are told apart from empty cells
_MOST_ROW = 4 << 20  # bytes that are looked through at once
_C = rb"<(?:\w+:)?c\b"
_END_C = rb"</(?:\w+:)?c>"
_REST = rb"[^<>]*?\br\s*=\s*[\"']"
_ADDRESS = _REST + rb"([A-Z]{1,3}\d{1,6})[\"'][^<>]*"
_FAR = re.compile(_C + _REST + rb"(?:([A-Z]{3,9})(\d{1,9})|([A-Z]{1,2})(\d{6,9}))[\"'][^<>]*(?<!/)>")
_MAYBE_FAR = re.compile(rb"r=[\"'](?:[A-Z]{3}|[A-Z]{1,2}\d{6})")  # fast; what evades it ends the process that reads
_HIDDEN = re.compile(rb"<(?:\w+:)?row\b(?=[^<>]*?\shidden\s*=\s*[\"'](?:1|true)[\"'])" + _REST + rb"(\d{1,6})[\"']")
_FAULTY = re.compile(
    _C
    + rb"(?=[^<>]*?\st\s*=\s*[\"']e[\"'])"
    + _ADDRESS
    + rb">(?:(?!"
    + _END_C
    + rb").){0,40000}?<(?:\w+:)?v>([^<]{0,20})",
    re.DOTALL,
)
_UNCOMPUTED = re.compile(  # a formula that gave an empty text is of the type str
    _C + rb"(?![^<>]*?\st\s*=\s*[\"']str[\"'])" + _ADDRESS + rb">\s*<(?:\w+:)?f\b[^<>]*(?:/>|>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*" + _END_C
)


@dataclass
class Seen:
    hidden_rows: set[int] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)  # address → "#REF!", or "" for a formula without a value


def scan(name: str, chunks: Iterator[bytes]) -> Seen:
    """Raises TooLarge with the cell's place, UnreadableSheet for XML that is not taken."""
    seen = Seen()
    for text in _by_rows(without_entities(name, chunks)):
        if _MAYBE_FAR.search(text):
            for match in _FAR.finditer(text):
                _refuse_far(name, match)
        if b"hidden" in text:
            seen.hidden_rows |= {min(int(match[1]), MAX_ROWS) for match in _HIDDEN.finditer(text)}
        if len(seen.faults) < _MOST_FAULTS:
            if b"e" in text and (b't="e"' in text or b"t='e'" in text):
                seen.faults |= {m[1].decode(): m[2].decode(errors="replace") for m in _FAULTY.finditer(text)}
            if b"<f" in text or b":f" in text:
                seen.faults |= {m[1].decode(): "" for m in _UNCOMPUTED.finditer(text)}
    return seen


def without_entities(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks. A sheet needs no entities; with them a few bytes become gigabytes, or another file's."""
    before = b""
    for chunk in chunks:
        text = before + chunk
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise UnreadableSheet(
                f"{name}: its XML defines entities",
                "Nothing that a spreadsheet program writes does: save it anew, and send that.",
                code="sheet_unsafe",
            )
        before = chunk[-16:]
        yield chunk


def _refuse_far(name: str, match: re.Match[bytes]) -> None:
    column, row = column_number((match[1] or match[3]).decode()), int(match[2] or match[4])
    if column >= MAX_COLUMNS or row > MAX_ROWS:
        place = f"{name}!{letters(column)}{row}"
        raise TooLarge(
            f"a cell at {place}; {MAX_ROWS:,} rows and {MAX_COLUMNS:,} columns are taken",
            "Delete the rows and columns behind the last VM, and save it anew.",
            cell=place,
        )


def _by_rows(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut before rows, so that no cell is cut in two; a row of megabytes is cut anyway."""
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        cut = max(text.rfind(b"<row"), text.rfind(b":row "))
        if cut > 0:
            cut = text.rfind(b"<", 0, cut + 1)
        elif len(text) > _MOST_ROW:
            cut = len(text)
        rest = text[max(cut, 0) :]
        if cut > 0:
            yield text[:cut]
    yield rest
