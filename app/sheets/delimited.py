"""CSV and plain text: in which characters and with which separator it was written, and its cells, all of them texts."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator

from app.domain.errors import TooLarge, UnreadableSheet
from app.sheets.guard import unguard
from app.sheets.limits import MAX_CELLS, MAX_COLUMNS, MAX_LINE, MAX_ROWS, MAX_TEXT
from app.sheets.workbook import TAKEN, Row, Sheet, letters

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 64 << 10
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f]")
_SEPARATORS = ",;\t"
_FAULTS = {  # what csv.Error says → what a person can use
    "unexpected end of data": "a quote is not closed",
    "expected after": "something stands between a closing quote and the next separator, or a quote is not closed",
    "field larger": "a value is very long, or a quote is not closed",
}
_SAVE = 'Save it as "CSV UTF-8", and send that.'


def sheet(name: str, data: bytes) -> Sheet:
    """Raises UnreadableSheet with the place, and TooLarge."""
    text = decode(name, data)
    text, separator = _separator(text)
    csv.field_size_limit(2 * MAX_LINE)
    reader = csv.reader(_lines(name, text), delimiter=separator, strict=True)
    rows: list[Row] = []
    cells_so_far = number = 0
    line = 1  # where the row begins
    try:
        for number, cells in enumerate(reader, 1):
            row = _row(name, number, cells)
            cells_so_far += len(row.cells)
            if cells_so_far > MAX_CELLS:
                raise TooLarge(
                    f"{name} has more than {MAX_CELLS:,} cells", "Send it in parts.", cell=f"{name}!{number}"
                )
            if row.cells:
                rows.append(row)
            line = reader.line_num + 1
    except csv.Error as error:
        why = next((ours for theirs, ours in _FAULTS.items() if theirs in str(error)), str(error))
        raise UnreadableSheet(
            f"line {line} of {name} is no CSV: {why}",
            'A value with a quote in it is written "like ""this""".',
            cell=f"{name}!{number + 1}",
        ) from error
    return Sheet(name, tuple(rows))


def decode(name: str, data: bytes) -> str:
    """UTF-8, UTF-16 or UTF-32 by its mark, UTF-16 by its zeros, UTF-8 where it is that, else Windows' cp1252."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _checked(name, _decoded(name, data[len(mark) :], encoding), encoding)
    head = data[:_LOOKED_AT]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 5:  # Latin letters in UTF-16
        encoding = "utf-16-le" if odd > even else "utf-16-be"
        return _checked(name, _decoded(name, data, encoding), encoding)
    try:
        return _checked(name, data.decode(), "utf-8")
    except UnicodeDecodeError:
        return _checked(name, data.decode("cp1252", errors="replace"), "cp1252")


def _decoded(name: str, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableSheet(f"{name} begins as {encoding.upper()} and is not: {error.reason}", _SAVE) from error


def _checked(name: str, text: str, encoding: str) -> str:
    at = text.find("\0")
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        raise UnreadableSheet(
            f"line {line} of {name} holds a zero byte: this is no text, or no {encoding}", _SAVE, cell=f"{name}!{line}"
        )
    head = text[:_LOOKED_AT]
    if len(_CONTROL.findall(head)) > len(head) // 20:
        raise UnreadableSheet(f"{name} is full of control characters: this is no text", TAKEN)
    return text


def _separator(text: str) -> tuple[str, str]:
    """The text behind a line that only names the separator ("sep=;", as Excel has it), and the separator: that which
    the first line has the most of, outside quotes.
    """
    named = re.match(r"sep=([,;\t])\r?\n", text)
    if named:
        return "\n" + text[named.end() :], named[1]
    first = next((line for line in io.StringIO(text[:_LOOKED_AT]) if line.strip(_SEPARATORS + " \r\n")), "")
    unquoted = re.sub(r'"[^"]*"', "", first)
    return text, max(_SEPARATORS, key=unquoted.count)


def _lines(name: str, text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > MAX_LINE:
            raise TooLarge(
                f"line {number} of {name} has {len(line):,} characters; {MAX_LINE:,} are taken",
                "One VM stands in one line.",
                cell=f"{name}!{number}",
            )
        yield line


def _row(name: str, number: int, cells: list[str]) -> Row:
    if number > MAX_ROWS or len(cells) > MAX_COLUMNS:
        raise TooLarge(
            f"{name} has more than {MAX_ROWS:,} rows or {MAX_COLUMNS:,} columns, at row {number}",
            "Send it in parts, without the columns that are not needed.",
            cell=f"{name}!{number}",
        )
    texts = [unguard(cell) or None for cell in cells]
    for column, text in enumerate(texts):
        if text is not None and len(text) > MAX_TEXT:
            place = f"{name}!{letters(column)}{number}"
            raise TooLarge(
                f"the text at {place} has {len(text):,} characters; {MAX_TEXT:,} are taken", "Shorten it.", cell=place
            )
    while texts and texts[-1] is None:
        texts.pop()
    return Row(number, tuple(texts))
