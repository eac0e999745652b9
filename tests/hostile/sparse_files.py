"""Honest writers of sparse VMDK files; what they return is changed by whoever wants a lie."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.hostile.streams import GRAIN, SECTOR, header

NO_PARENT = "ffffffff"


def text(
    kind: str, *extents: str, cid: str = "7c3aeb11", parent: str = "", parent_cid: str = NO_PARENT, more: str = ""
) -> bytes:
    hint = f'parentFileNameHint="{parent}"\n' if parent else ""
    return (
        f'# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\nCID={cid}\nparentCID={parent_cid}\ncreateType="{kind}"\n'
        f"{hint}{more}\n# Extent description\n" + "\n".join(extents) + '\n\nddb.adapterType = "lsilogic"\n'
    ).encode()


def grains_of(disk: bytes, size: int = GRAIN) -> dict[int, bytes]:
    """The grains of a disk that are not all zeros, by number."""
    pieces = {start // size: disk[start : start + size].ljust(size, b"\0") for start in range(0, len(disk), size)}
    return {number: data for number, data in pieces.items() if any(data)}


@dataclass
class Hosted:
    """A sparse extent of a hosted product, in bytes: `directory`, `tables` and the rest are where things are, in
    sectors. Numbers in `zeros` are grains that are said to be zeros. With a `descriptor` it is a disk of its own.
    """

    capacity: int  # sectors
    grains: Mapping[int, bytes]
    descriptor: bytes = b""
    zeros: Collection[int] = ()
    grain: int = 128

    def __post_init__(self) -> None:
        self.count = -(-self.capacity // (self.grain * 512))
        length = -(-self.count * 4 // SECTOR)
        self.copy = 21
        self.copies = self.copy + length
        self.directory = self.copies + 4 * self.count
        self.tables = self.directory + length
        self.data = -(-(self.tables + 4 * self.count) // self.grain) * self.grain

    def write(self, **lies: int | bytes) -> bytearray:
        described = bool(self.descriptor)
        fields: dict[str, int | bytes] = {
            "capacity": self.capacity,
            "directory": self.directory,
            "version": 2 if self.zeros else 1,
            "flags": 7 if self.zeros else 3,
            "grain": self.grain,
            "descriptor": 1 if described else 0,
            "descriptor_sectors": 20 if described else 0,
            "second": self.copy,
            "overhead": self.data,
            "compression": 0,
        }
        out = bytearray(header(**(fields | lies)))
        out += self.descriptor.ljust(20 * SECTOR, b"\0")
        entries = [0] * (self.count * 512)
        for number in self.zeros:
            entries[number] = 1
        body = bytearray()
        for number, data in self.grains.items():
            entries[number] = self.data + len(body) // SECTOR
            body += data
        for directory, tables in ((self.copy, self.copies), (self.directory, self.tables)):
            out = out.ljust(directory * SECTOR, b"\0")
            out += struct.pack(f"<{self.count}I", *(tables + 4 * index for index in range(self.count)))
            out = out.ljust(tables * SECTOR, b"\0")
            out += struct.pack(f"<{len(entries)}I", *entries)
        return out.ljust(self.data * SECTOR, b"\0") + body

    def entry(self, number: int, *, copy: bool = False) -> int:
        """The byte where a grain's entry is."""
        return (self.copies if copy else self.tables) * SECTOR + 4 * number

    def place(self, image: bytearray, number: int, sector: int) -> None:
        """Let both tables say that a grain is at a sector."""
        for copy in (False, True):
            struct.pack_into("<I", image, self.entry(number, copy=copy), sector)


def cowd(capacity: int, grains: Mapping[int, bytes], grain: int = 1, **lies: int) -> bytearray:
    """A vmfsSparse extent: tables of 4096 entries between the grains, as they come to be needed."""
    count = -(-capacity // (grain * 4096))
    fields = {"magic": 0x44574F43, "version": 1, "flags": 3, "capacity": capacity, "grain": grain, "directory": 4}
    fields |= {"entries": count, "free": 0, "unclean": 0} | lies
    unclean = fields.pop("unclean")
    out = bytearray(struct.pack("<8I", *fields.values())).ljust(1648, b"\0") + struct.pack("<I", unclean)
    out = out.ljust(4 * SECTOR, b"\0") + bytes(-(-count * 4 // SECTOR) * SECTOR)
    places: dict[int, int] = {}
    for number, data in grains.items():
        table, entry = divmod(number, 4096)
        if table not in places:
            places[table] = len(out) // SECTOR
            struct.pack_into("<I", out, 4 * SECTOR + 4 * table, places[table])
            out += bytes(4096 * 4)
        struct.pack_into("<I", out, places[table] * SECTOR + 4 * entry, len(out) // SECTOR)
        out += data
    return out


SE_DIRECTORY, SE_TABLES = 2, 8  # sectors


def se_sparse(
    capacity: int, grains: Mapping[int, bytes], zeros: Collection[int] = (), unmapped: Collection[int] = (), **lies: int
) -> bytearray:
    """A seSparse extent: grains of 4 KiB, tables of 4096 entries of 64 bits."""
    count = -(-capacity // (8 * 4096))
    first = SE_TABLES + 64 * count
    fields = {
        "magic": 0xCAFEBABE, "version": 0x200000001, "capacity": capacity, "grain": 8, "table": 64, "flags": 0,
        "r1": 0, "r2": 0, "r3": 0, "r4": 0, "state": 1, "state_size": 1, "journal_header": 0, "journal_header_size": 0,
        "journal": 0, "journal_size": 0, "directory": SE_DIRECTORY, "directory_size": SE_TABLES - SE_DIRECTORY,
        "tables": SE_TABLES, "tables_size": 64 * count, "free": 0, "free_size": 0, "back": 0, "back_size": 0,
        "grains": first, "grains_size": 8 * len(grains),
    }  # fmt: skip
    fields |= {key: value for key, value in lies.items() if key != "replay"}
    out = bytearray(struct.pack("<26Q", *fields.values())).ljust(SECTOR, b"\0")
    out += struct.pack("<4Q", 0xCAFECAFE, 0, 0, lies.get("replay", 0)).ljust(SECTOR, b"\0")
    needed = sorted({number // 4096 for number in [*grains, *zeros, *unmapped]})
    slots = {table: slot for slot, table in enumerate(needed)}
    out += struct.pack(f"<{count}Q", *(0x1000000000000000 | slots[i] if i in slots else 0 for i in range(count)))
    out = out.ljust(SE_TABLES * SECTOR, b"\0")
    tables = [0] * (4096 * count)
    for number, mark in [*((z, 0x2000000000000000) for z in zeros), *((u, 0x1000000000000000) for u in unmapped)]:
        tables[slots[number // 4096] * 4096 + number % 4096] = mark
    body = bytearray()
    for index, (number, data) in enumerate(grains.items()):
        tables[slots[number // 4096] * 4096 + number % 4096] = 0x3000000000000000 | (index & 0xFFF) << 48 | index >> 12
        body += data
    return out + struct.pack(f"<{len(tables)}Q", *tables) + body
