"""Sheets that were made to do harm, or came to harm: what each is, what is said of it, and how much memory it may take.

`python -m tests.hostile.sheets` reads each in a process of its own, and prints what came of it, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.domain.errors import InvalidRequest
from app.sheets.formats import understand
from app.sheets.read import read
from tests.hostile.sheet_files import (
    HEADER,
    LAUGHS,
    MIB,
    NS,
    OLE,
    PROLOG,
    VM,
    bomb,
    cell,
    dated,
    encrypted_zip,
    flipped,
    full,
    lying_bomb,
    merged,
    much_text,
    noise,
    package,
    sheet,
    strings,
    twice,
    zipped,
)


@dataclass(frozen=True)
class Case:
    """code: of the error; "" for one that can be read. cell: the place it tells. memory: of the reading process."""

    make: Callable[[], bytes]
    code: str = ""
    cell: str = ""
    says: str = ""
    memory: int = 100 * MIB
    large: bool = False  # whether it is refused for its size


CASES: dict[str, Case] = {
    "zip bomb": Case(bomb, "too_large", says="1,024 MiB", large=True),
    "zip bomb that lies": Case(lying_bomb, "sheet_unsafe", says="more than the zip says"),
    "zip of 100,000 entries": Case(
        lambda: zipped({f"{n}": b"" for n in range(100_000)}), "too_large", says="65,535 or more", large=True
    ),
    "billion laughs in the texts": Case(
        lambda: package(sheet(), more=strings(b"&j;", before=LAUGHS)), "sheet_unsafe", says="xl/sharedStrings.xml"
    ),
    "billion laughs in a sheet": Case(lambda: package(sheet(before=LAUGHS)), "sheet_unsafe", says="Plan"),
    "billion laughs in the workbook": Case(
        lambda: package(sheet(), more={"xl/workbook.xml": PROLOG + LAUGHS + b"<workbook>&j;</workbook>"}),
        "sheet_unsafe",
        says="xl/workbook.xml",
    ),
    "another file as an entity": Case(
        lambda: package(sheet(before=b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>")), "sheet_unsafe"
    ),
    "entities behind a megabyte": Case(
        lambda: package(sheet(before=b"<!--%s-->" % (b"x" * (MIB - 60)) + LAUGHS)), "sheet_unsafe"
    ),
    "cells at both ends": Case(
        lambda: package(sheet(HEADER + cell("XFD1048576"))), "too_large", "Plan!XFD1048576", large=True
    ),
    "cells at both ends, written oddly": Case(
        lambda: package(sheet(HEADER + cell("XFD1048576").replace('r="XFD1048576"', "r = 'XFD1048576'"))),
        "too_large", says="memory", large=True,
    ),
    "cells at both ends, past the first look": Case(
        lambda: package(sheet(HEADER + cell("XFD1048576").replace('r="XFD1048576"', 'r="&#88;FD1048576"'))),
        "sheet_unreadable",
    ),
    "cells at both ends, with a prefix": Case(
        lambda: package(
            sheet(HEADER + cell("XFD1048576"), ns=NS.replace(b"xmlns", b"xmlns:x"))
            .replace(b"<", b"<x:").replace(b"<x:/", b"</x:").replace(b"<x:?", b"<?")
        ),
        "too_large", "Plan!XFD1048576", large=True,
    ),
    "a last row": Case(lambda: package(sheet(HEADER + cell("B1048576"))), "too_large", "Plan!B1048576", large=True),
    "an empty last row": Case(lambda: package(sheet(HEADER + VM + '<row r="1048576"><c r="A1048576" s="1"/></row>'))),
    "a dimension that lies": Case(
        lambda: package(sheet().replace(b"<sheetData>", b'<dimension ref="A1:XFD1048576"/><sheetData>'))
    ),
    "too many cells": Case(lambda: full(9_000, 400), "too_large", "Plan!OJ9000", large=True, memory=400 * MIB),
    "16,000 sheets": Case(
        lambda: package(*[sheet("")] * 16_000), "too_large", says="16,000 sheets; 200 are taken", large=True
    ),
    "16,000 sheets that are one": Case(
        lambda: package(sheet(), names=["Plan", *map(str, range(16_000))]), "", memory=150 * MIB
    ),
    "a text of 10 MB": Case(
        lambda: package(sheet(HEADER + cell("A2", 't="s"').replace(">1<", ">0<")), more=strings(noise(10 * MIB))),
        "too_large", "Plan!A2", "10,485,760 characters", large=True, memory=150 * MIB,
    ),
    "a text of 10 MB in its cell": Case(
        lambda: package(sheet(HEADER + VM.replace("vm-1", noise(10 * MIB).decode()))), "too_large", "Plan!A2",
        large=True, memory=150 * MIB,
    ),
    "one text very often": Case(much_text, "too_large", large=True, memory=700 * MIB),
    "a text that is not there": Case(
        lambda: package(sheet(HEADER + cell("A2", 't="s"')), more=strings(b"x")), "sheet_unreadable"
    ),
    "a million merged areas": Case(
        lambda: package(sheet(after="<mergeCells>" + "".join(map(merged, range(1_000_000))) + "</mergeCells>")),
        memory=400 * MIB,
    ),
    "merged areas that are none": Case(
        lambda: package(sheet(after='<mergeCells><mergeCell ref="A:ZZZZZZZ9"/></mergeCells>')), "sheet_unreadable"
    ),
    "a million hidden rows": Case(
        lambda: package(sheet(HEADER + VM + "".join(f'<row r="{n}" hidden="1"/>' for n in range(3, 1_000_003)))),
        memory=150 * MIB,
    ),
    "a date in no calendar": Case(lambda: dated("1e300")),
    "a date before all calendars": Case(lambda: dated("-99999999")),
    "a date that is no number": Case(lambda: dated("NaN")),
    "deep XML": Case(
        lambda: package(sheet(), more={"xl/workbook.xml": PROLOG + b"<a>" * 500_000}), "sheet_unreadable",
        memory=300 * MIB,
    ),
    "no XML": Case(lambda: package(b"\xff" * 5000), "sheet_unreadable"),
    "XML that ends early": Case(lambda: package(sheet()[:-60]), "sheet_unreadable"),
    "a sheet outside": Case(
        lambda: package(sheet(), more={"xl/_rels/workbook.xml.rels": PROLOG + b'<Relationships><Relationship Id="r1" '
        b'Type="/worksheet" Target="../../../../etc/passwd"/></Relationships>'}),
        "sheet_unreadable", says="no sheet",
    ),
    "a long name": Case(lambda: package(sheet(), names=["x" * 100_000]), "sheet_unreadable", says="255"),
    "macros": Case(lambda: package(sheet(), more={"xl/vbaProject.bin": OLE + b"\0" * 4096})),
    "cut in the middle": Case(lambda: package(sheet())[:1000], "sheet_unreadable", says="cut"),
    "without its last byte": Case(lambda: package(sheet())[:-1], "sheet_unreadable"),
    "without its first half": Case(lambda: b"PK\x03\x04" + package(sheet())[1000:], "sheet_unreadable"),
    "a flipped bit": Case(lambda: flipped(package(sheet(HEADER * 50))), "sheet_unreadable", says="broken"),
    "a part twice": Case(twice, "sheet_unsafe", says="twice"),
    "a path upwards": Case(
        lambda: zipped({"../../etc/RVTools_tabvInfo.csv": b"VM\nx\n"}), "sheet_unsafe", says="leads out"
    ),
    "an absolute path": Case(lambda: zipped({"/etc/RVTools_tabvInfo.csv": b"VM\nx\n"}), "sheet_unsafe"),
    "a path of Windows": Case(lambda: zipped({"C:\\RVTools_tabvInfo.csv": b"VM\nx\n"}), "sheet_unsafe"),
    "a path upwards of Windows": Case(lambda: zipped({"..\\RVTools_tabvInfo.csv": b"VM\nx\n"}), "sheet_unsafe"),
    "an encrypted zip": Case(encrypted_zip, "sheet_encrypted"),
    "an encrypted workbook": Case(
        lambda: OLE + b"\0" * 504 + "EncryptedPackage".encode("utf-16-le") + b"\0" * 4096, "sheet_encrypted"
    ),
    "an .xls": Case(lambda: OLE + b"\0" * 8192, "sheet_unreadable", says=".xls"),
    "an .xlsb": Case(lambda: zipped({"xl/workbook.bin": b"x"}), "sheet_unreadable", says=".xlsb"),
    "an .ods": Case(
        lambda: zipped({"mimetype": b"x", "content.xml": b"<x/>"}), "sheet_unreadable", says="OpenDocument"
    ),
    "a .docx": Case(lambda: zipped({"word/document.xml": b"<x/>"}), "sheet_unreadable", says="Word"),
    "a zip of pictures": Case(lambda: zipped({"a.png": b"x"}), "sheet_unreadable", says="RVTools_tabvInfo.csv"),
    "a zip of nothing": Case(lambda: zipped({}), "sheet_unreadable"),
    "a PDF": Case(lambda: b"%PDF-1.7\n" + b"x" * 100, "sheet_unreadable", says="PDF"),
    "a page": Case(lambda: b"\xef\xbb\xbf <html><table><tr><td>VM</table>", "sheet_unreadable", says="HTML"),
    "a document": Case(lambda: b'{"items": []}', "sheet_unreadable", says="JSON"),
    "a program": Case(lambda: b"\x7fELF" + bytes(range(256)) * 40, "sheet_unreadable"),
    "nothing": Case(lambda: b"", "sheet_unreadable", says="empty"),
    "nothing but a mark": Case(lambda: b"\xff\xfe", "sheet_unreadable", says="empty"),
    "zeros": Case(lambda: b"\0" * MIB, "sheet_unreadable"),
    "noise": Case(
        lambda: bytes((n * n * 31 + n) % 251 for n in range(100_000)), "sheet_unreadable", "plan.csv!1", "no text"
    ),
    "200 bytes without a zero": Case(
        lambda: bytes((n * n * 31 + n) % 251 for n in range(100_000)).replace(b"\0", b"")[:200],
        "sheet_unreadable", says="control characters",
    ),
    "UTF-16 with zeros in it": Case(
        lambda: "VM id,wave\nvm-1,\0\n".encode("utf-16"), "sheet_unreadable", "plan.csv!2", "zero byte"
    ),
    "half of UTF-16": Case(lambda: "VM id\nvm-1\n".encode("utf-16")[:-1], "sheet_unreadable", says="UTF-16"),
    "a quote that is not closed": Case(
        lambda: b'VM id,notes\nvm-1,"x\nvm-2,y\n' * 1001, "sheet_unreadable", "plan.csv!2", "line 2"
    ),
    "ten million commas": Case(
        lambda: b"VM id,wave\nvm-1" + b"," * 10_000_000, "too_large", "plan.csv!2", "10,000,004", large=True,
        memory=200 * MIB,
    ),
    "900,000 commas": Case(
        lambda: b"VM id,wave\nvm-1" + b"," * 900_000, "too_large", "plan.csv!2", "columns", large=True, memory=150 * MIB
    ),
    "a million rows": Case(
        lambda: b"VM id,wave\n" + b"x,1\n" * 1_000_000, "too_large", "plan.csv!100001", large=True, memory=200 * MIB
    ),
    "a quote over a million lines": Case(
        lambda: b'VM id,notes\nvm-1,"' + b"x\n" * 2_000_000 + b'"\n', "sheet_unreadable", "plan.csv!2", "line 2",
        memory=200 * MIB,
    ),
    "a long value": Case(
        lambda: b"VM id,notes\nvm-1," + b"x" * 40_000, "too_large", "plan.csv!B2", "40,000 characters", large=True
    ),
    "a bomb of CSV": Case(
        lambda: zipped({"RVTools_tabvInfo.csv": b"VM,Template\n" + b"x,1\n" * 60_000_000}), "too_large", large=True
    ),
    "larger than 50 MiB": Case(lambda: b"x\n" * 26 * MIB, "too_large", says="50 MiB", large=True),
}  # fmt: skip


def outcome(data: bytes) -> dict[str, object]:
    """What came of reading it, what it took, of this process and of those that it started."""
    began = time.monotonic()
    told: dict[str, object] = {"code": ""}
    try:
        told["rows"] = len(understand(read(data, "plan.csv")).rows)
    except InvalidRequest as error:
        told = error.to_dict() | {"kind": type(error).__name__}
    return told | {
        "seconds": time.monotonic() - began,
        "own": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "reader": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10,
    }


def outcomes() -> Iterator[tuple[str, dict[str, object]]]:
    """Each case in a fork, so that what one takes is told apart from what another does."""
    for name, case in CASES.items():
        data = case.make()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with open(writer, "w") as out:
                json.dump(outcome(data), out)
            os._exit(0)
        os.close(writer)
        with open(reader) as said:
            text = said.read()
        os.waitpid(pid, 0)
        yield name, json.loads(text) | {"size": len(data)}


if __name__ == "__main__":
    for name, found in outcomes():
        print(json.dumps({"name": name, **found}), flush=True)
