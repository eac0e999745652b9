"""Files that tests/hostile/sheets.py sends: zips and workbooks written part by part, with anything in them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

MIB = 1 << 20
PROLOG = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NS = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
LAUGHS = b"<!DOCTYPE x [<!ENTITY a 'ha'>%s]>" % b"".join(
    b"<!ENTITY %c '%s'>" % (new, b"&%c;" % old * 10) for old, new in zip(b"abcdefghi", b"bcdefghij", strict=True)
)
HEADER = (
    '<row r="1"><c r="A1" t="inlineStr"><is><t>VM id</t></is></c><c r="B1" t="inlineStr"><is><t>wave</t></is></c></row>'
)
VM = '<row r="2"><c r="A2" t="inlineStr"><is><t>vm-1</t></is></c></row>'


def sheet(rows: str = HEADER + VM, *, before: bytes = b"", after: str = "", ns: bytes = NS) -> bytes:
    return (
        PROLOG + before + b"<worksheet %s><sheetData>%s</sheetData>%s</worksheet>" % (ns, rows.encode(), after.encode())
    )


def package(*sheets: bytes, more: dict[str, bytes] | None = None, names: list[str] | None = None) -> bytes:
    """An xlsx of these sheets: Plan, Sheet2, …"""
    called = names or ["Plan", *(f"Sheet{n}" for n in range(2, len(sheets) + 1))]
    listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(called, 1))
    kinds = "".join(
        f'<Relationship Id="r{n}" Type="{OFFICE.decode()}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(called) + 1)
    )
    rels = b"http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "[Content_Types].xml": PROLOG
        + b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": PROLOG
        + b'<Relationships xmlns="%s"><Relationship Id="r1" Type="%s/officeDocument" Target="xl/workbook.xml"/>'
        b"</Relationships>" % (rels, OFFICE),
        "xl/workbook.xml": PROLOG
        + b'<workbook %s xmlns:r="%s"><sheets>%s</sheets></workbook>' % (NS, OFFICE, listed.encode()),
        "xl/_rels/workbook.xml.rels": PROLOG + b'<Relationships xmlns="%s">%s</Relationships>' % (rels, kinds.encode()),
        **{f"xl/worksheets/sheet{n}.xml": data for n, data in enumerate(sheets, 1)},
        **(more or {}),
    }
    return zipped(parts)


def zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    return file.getvalue()


def strings(*texts: bytes, before: bytes = b"") -> dict[str, bytes]:
    items = b"".join(b"<si><t>%s</t></si>" % text for text in texts)
    return {"xl/sharedStrings.xml": PROLOG + before + b"<sst %s>%s</sst>" % (NS, items)}


def cell(address: str, attributes: str = "") -> str:
    row = address.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return f'<row r="{row}"><c r="{address}" {attributes}><v>1</v></c></row>'


def noise(count: int) -> bytes:
    """Hexadecimal digits that cannot be packed well."""
    return random.Random(count).randbytes(count // 2).hex().encode()


def merged(number: int) -> str:
    return f'<mergeCell ref="A{number % 999 + 5}:{"ABCDEFG"[number % 7]}{number % 997 + 1005}"/>'


def bomb() -> bytes:
    """A gigabyte of blanks."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("xl/workbook.xml", "w") as part:
        for _ in range(1024):
            part.write(b" " * MIB)
    return file.getvalue()


def lying_bomb() -> bytes:
    """The same in a sheet, and the zip says that it is short."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(b" " * MIB) for _ in range(1024)) + packer.flush()
    data = package(b"@@SHEET@@")
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        parts = {entry.filename: file.read(entry) for entry in file.infolist()}
    return raw_zip([(name, packed if text == b"@@SHEET@@" else deflated(text), 1000) for name, text in parts.items()])


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def raw_zip(entries: list[tuple[str, bytes, int]]) -> bytes:
    """(name, deflated bytes, the size that is told): nothing of it needs to be true."""
    local, central = io.BytesIO(), io.BytesIO()
    for name, packed, size in entries:
        true = zlib.decompressobj(-15).decompress(packed, 2 * MIB)
        told = len(true) if len(true) < MIB else size
        common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, zlib.crc32(true), len(packed), told, len(name), 0)
        central.write(b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, local.tell()))
        central.write(name.encode())
        local.write(b"PK\x03\x04" + common + name.encode() + packed)
    at = local.tell()
    local.write(central.getvalue())
    local.write(
        struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(entries), len(entries), len(central.getvalue()), at, 0)
    )
    return local.getvalue()


def flipped(data: bytes) -> bytes:
    """With one bit of its largest part changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entry = max(file.infolist(), key=lambda entry: entry.compress_size)
    at = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def encrypted_zip() -> bytes:
    data = bytearray(zipped({"RVTools_tabvInfo.csv": b"VM\nx\n"}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    return bytes(data)


def twice() -> bytes:
    """A part that checks see, and one of the same name that calamine might."""
    file = io.BytesIO(package(sheet()))
    with zipfile.ZipFile(file, "a") as packed:
        packed.writestr("XL/worksheets/SHEET1.xml", sheet(HEADER))
    return file.getvalue()


def much_text() -> bytes:
    """One text of 30,000 characters in 100,000 cells: 3 GB."""
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, 100_001))
    return package(sheet(rows), more=strings(b"x" * 30_000))


def full(rows: int, columns: int) -> bytes:
    """Numbers, no two alike; rows and cells have no addresses."""
    row = "<row>" + "".join(f"<c><v>{n}.5</v></c>" for n in range(columns)) + "</row>"
    return package(sheet("".join(row.replace(".5", f".{n}5") for n in range(rows))))


def dated(value: str) -> bytes:
    styles = PROLOG + b'<styleSheet %s><cellXfs><xf/><xf numFmtId="14"/></cellXfs></styleSheet>' % NS
    rows = HEADER + f'<row r="2"><c r="A2" t="str"><v>vm-1</v></c><c r="B2" s="1"><v>{value}</v></c></row>'
    return package(sheet(rows), more={"xl/styles.xml": styles})
