"""An honest writer of streamOptimized VMDKs in ESXi's form, with a knob for every lie that the corpus tells."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

SECTOR, GRAIN, ENTRIES = 512, 65536, 512
AT_END = (1 << 64) - 1
Piece = tuple[int, bytes]  # sector on the disk, compressed data


class Memory(io.BytesIO):
    """A stream from memory, with reads as short as a network's."""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return super().readinto(buffer[:70_001])


def descriptor(sectors: int, *, extent: str | None = None, kind: str = "streamOptimized", more: str = "") -> bytes:
    line = extent if extent is not None else f'RDONLY {sectors} SPARSE "call-me-stream.vmdk"'
    return (
        f'# Disk DescriptorFile\nversion=1\nCID=7c3aeb11\nparentCID=ffffffff\nisNativeSnapshot="no"\n'
        f'createType="{kind}"\n{more}\n# Extent description\n{line}\n\n# The Disk Data Base\n#DDB\n\n'
        'ddb.adapterType = "lsilogic"\nddb.encoding = "UTF-8"\n'
    ).encode()


def header(capacity: int | bytes, directory: int | bytes = AT_END, **lies: int | bytes) -> bytes:
    """One sector; `lies` replace fields by name."""
    fields: dict[str, int | bytes] = {
        "magic": b"KDMV",
        "version": 3,
        "flags": 0x30001,
        "capacity": capacity,
        "grain": 128,
        "descriptor": 1,
        "descriptor_sectors": 20,
        "entries": ENTRIES,
        "second": 0,
        "directory": directory,
        "overhead": 128,
        "unclean": 0,
        "newlines": b"\n \r\n",
        "compression": 1,
    }
    assert lies.keys() <= fields.keys()
    return struct.pack("<4sIIQQQQIQQQB4sH", *(fields | lies).values()).ljust(SECTOR, b"\0")


def marker(value: int, kind: int) -> bytes:
    return struct.pack("<QII", value, 0, kind).ljust(SECTOR, b"\0")


def grain(sector: int, compressed: bytes, size: int | None = None) -> bytes:
    data = struct.pack("<QI", sector, len(compressed) if size is None else size) + compressed
    return data + bytes(-len(data) % SECTOR)


def padded(words: Iterable[int]) -> bytes:
    data = b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)
    return data + bytes(-len(data) % SECTOR)


def pieces(disk: bytes, size: int = GRAIN) -> list[Piece]:
    """The grains of a disk that are not all zeros."""
    return [
        (start // SECTOR, zlib.compress(disk[start : start + size].ljust(size, b"\0"), 1))
        for start in range(0, len(disk), size)
        if any(disk[start : start + size])
    ]


@dataclass
class Writer:
    """write() gives the stream. Each hook may change what is about to be written."""

    capacity: int  # sectors
    grains: list[Piece]
    header: dict[str, int | bytes] = field(default_factory=dict)
    footer: dict[str, int | bytes] = field(default_factory=dict)
    descriptor: bytes = b""
    table: Callable[[list[int]], list[int] | None] = lambda table: table
    directory: Callable[[list[int]], list[int] | None] = lambda directory: directory
    before_directory: bytes = b""
    after_directory: bytes = b""
    before_end: bytes = b""
    with_footer: bool = True
    end: bytes = bytes(SECTOR)
    grain: int = 128  # sectors

    def write(self) -> bytes:
        out = bytearray(header(**{"capacity": self.capacity, "grain": self.grain, **self.header}))
        out += (self.descriptor or descriptor(self.capacity)).ljust(127 * SECTOR, b"\0")
        directory = [0] * -(-self.capacity // (self.grain * ENTRIES))
        open_table, table = 0, [0] * ENTRIES
        for sector, data in [*self.grains, (1 << 60, b"")]:
            number = sector // self.grain
            if number // ENTRIES != open_table:
                if any(table) and (entries := self.table(table)) is not None:
                    out += marker(4, 1)
                    if open_table < len(directory):
                        directory[open_table] = len(out) // SECTOR
                    out += padded(entries)
                open_table, table = number // ENTRIES, [0] * ENTRIES
            if data:
                table[number % ENTRIES] = len(out) // SECTOR
                out += grain(sector, data)
        out += self.before_directory
        place = 0
        if (entries := self.directory(directory)) is not None:
            body = padded(entries)
            out += marker(len(body) // SECTOR, 2)
            place = len(out) // SECTOR
            out += body
        out += self.after_directory
        if self.with_footer:
            out += marker(1, 3) + header(
                **{"capacity": self.capacity, "grain": self.grain, "directory": place, **self.footer}
            )
        return bytes(out + self.before_end + self.end)


def leading(disk: bytes, *, entry: Callable[[int], int] = lambda e: e, directory: int = 21, table: int = 22) -> bytes:
    """A stream with its tables in front, as qemu-img writes it; one table, no end marker."""
    capacity = -(-len(disk) // SECTOR)
    body, entries = bytearray(), [0] * ENTRIES
    for sector, data in pieces(disk):
        entries[sector // 128] = entry(128 + len(body) // SECTOR)
        body += grain(sector, data)
    front = header(capacity, directory) + descriptor(capacity).ljust(20 * SECTOR, b"\0")
    front += padded([table]) + padded(entries)
    return front.ljust(128 * SECTOR, b"\0") + bytes(body)
