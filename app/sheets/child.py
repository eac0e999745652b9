"""The process that reads one file of a user's, from its standard input, and says what is in it: app/sheets/wire.py.

Nothing else is in it, it runs under limits, and what ends it ends nothing else.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator

from app.domain.errors import InvalidRequest, UnreadableSheet
from app.sheets import delimited, wire
from app.sheets.known import role, to_read
from app.sheets.workbook import TAKEN, Sheet
from app.sheets.zip_check import Package

_FOREIGN = (
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3", "a database"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x7fELF", "a program"),
)
_WITHIN = (  # a name in a zip, and what the zip then is
    ("xl/workbook.bin", "an .xlsb workbook"),
    ("content.xml", "an OpenDocument file"),
    ("word/document.xml", "a Word document"),
    ("ppt/presentation.xml", "a presentation"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def sheets(data: mmap.mmap, name: str, path: str = "/proc/self/fd/0") -> Iterator[Sheet]:
    """By what the file begins with; its name only names a CSV's sheet."""
    head = data[: 64 << 10]
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from _zipped(Package(memoryview(data)), path)
        return
    if head.startswith(_OLE):
        raise _of_old_office(data)
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise UnreadableSheet(f"the file is {what}", TAKEN)
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<?xml", b"<html", b"<!doctype", b"<table")):
        raise UnreadableSheet("the file is HTML or XML, whatever its name says", TAKEN)
    if begin.startswith((b"{", b"[{")):
        raise UnreadableSheet(
            "the file is JSON", "A plan in JSON goes to PUT /v1/plans/NAME (vmferry plan apply). " + TAKEN
        )
    yield delimited.sheet(name, bytes(data))


def _of_old_office(data: mmap.mmap) -> UnreadableSheet:
    if data.find("EncryptedPackage".encode("utf-16-le")) >= 0:
        return UnreadableSheet(
            "the workbook is encrypted", "Save it without a password, and send that.", code="sheet_encrypted"
        )
    return UnreadableSheet("the file is an .xls workbook, or another of the old Office formats", "Save it as .xlsx.")


def _zipped(package: Package, path: str) -> Iterator[Sheet]:
    if "xl/workbook.xml" in package:
        from app.sheets import excel  # calamine is loaded only for what it is to read

        yield from excel.sheets(package, path)
        return
    for name, what in _WITHIN:
        if name in package:
            raise UnreadableSheet(f"the file is {what}", "Save it as .xlsx. " + TAKEN)
    texts = [name for name in package.names if name.lower().endswith(".csv") and "__macosx" not in name.lower()]
    wanted = to_read(texts) or (texts if len(texts) == 1 else [])
    if not wanted:
        many = ", ".join(sorted(texts)[:5]) or "no CSV file"
        raise UnreadableSheet(f"the zip has no RVTools_tabvInfo.csv in it, but {many}", TAKEN)
    known = {role(name) for name in wanted}
    alone = len(known) == len(wanted)
    for name in wanted:
        data = package.read(name)
        yield delimited.sheet(name.rpartition("/")[2] if alone else name, data)


def main() -> None:
    name = sys.argv[1]
    try:
        data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
        count = 0
        for sheet in sheets(data, name):
            _say(wire.heading(sheet))
            for row in sheet.rows:
                _say([row.number, row.cells])
            count += 1
        _say({"end": count})
    except InvalidRequest as error:
        _say(wire.refusal(error))
    except MemoryError:
        _say(wire.refusal(wire.too_large()))


def _say(said: object) -> None:
    for line in wire.pieces(said):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
