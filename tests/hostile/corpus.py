"""Streams that must be refused, each with the lie it tells; all of them say they are a disk of CAPACITY bytes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from app.domain.errors import TransferInterrupted, UnsafeImage, VmferryError
from converters.vmdk_stream import StreamReader
from tests.hostile.streams import (
    AT_END,
    ENTRIES,
    GRAIN,
    SECTOR,
    Memory,
    Piece,
    Writer,
    descriptor,
    grain,
    header,
    leading,
    marker,
    padded,
    pieces,
)

CAPACITY = 80 << 20  # three grain tables
SECTORS = CAPACITY // SECTOR


def disk() -> bytes:
    """Text, noise and holes, in the first and the last grain too; nothing in the second table's 32 MiB."""
    data = bytearray(CAPACITY)
    source = random.Random(7)
    for number in [0, 1, 2, 5, 511, 1024, 1030, 1279]:
        data[number * GRAIN : number * GRAIN + 40_000] = source.randbytes(20_000) + b"text" * 5_000
    return bytes(data)


DISK = disk()
GRAINS = pieces(DISK)
HONEST = Writer(SECTORS, GRAINS)
WHOLE = HONEST.write()

Case = tuple[str, bytes, type[VmferryError]]


def cases() -> Iterator[Case]:
    """(what is wrong, the stream, the error that must come)."""
    yield from _cut()
    for name, stream in [*_headers(), *_descriptors(), *_grains(), *_tables(), *_leading(), *_garbage()]:
        yield name, stream, UnsafeImage


def _cut() -> Iterator[Case]:
    grain_end = 128 * SECTOR + len(grain(*GRAINS[0]))
    places = {
        "nothing": 0,
        "inside the header": 100,
        "after the header": SECTOR,
        "inside the descriptor": 700,
        "before the first grain": 128 * SECTOR,
        "inside a marker": 128 * SECTOR + 5,
        "inside a grain": 128 * SECTOR + 9000,
        "between grains": grain_end,
        "at half": len(WHOLE) // 2,
        "before the directory": len(WHOLE) - 5 * SECTOR,
        "inside the directory": len(WHOLE) - 4 * SECTOR + 20,
        "before the footer": len(WHOLE) - 3 * SECTOR,
        "inside the footer": len(WHOLE) - 2 * SECTOR + 30,
        "before the end marker": len(WHOLE) - SECTOR,
        "inside the end marker": len(WHOLE) - 1,
    }
    for name, place in places.items():
        yield f"cut: {name}", WHOLE[:place], TransferInterrupted
    small = leading(DISK[: 32 << 20]).ljust(1, b"\0")
    yield "cut: leading tables, last grain", _resized(small[:-SECTOR]), TransferInterrupted
    yield "cut: leading tables, no grain", _resized(small[: 128 * SECTOR]), TransferInterrupted


def _resized(stream: bytes) -> bytes:
    """A stream of the first 32 MiB, whose header, descriptor and one table claim the whole disk."""
    return header(SECTORS, 21) + descriptor(SECTORS).ljust(20 * SECTOR, b"\0") + stream[21 * SECTOR :]


def _headers() -> Iterator[tuple[str, bytes]]:
    lies: dict[str, dict[str, int | bytes]] = {
        "signature": {"magic": b"COWD"},
        "version 0": {"version": 0},
        "version 4": {"version": 4},
        "not compressed": {"flags": 1},
        "no markers": {"flags": 0x10001},
        "unknown flag": {"flags": 0x830001},
        "capacity 0": {"capacity": 0},
        "capacity is absurd": {"capacity": 1 << 62},
        "capacity is larger": {"capacity": SECTORS + 128},
        "capacity is smaller": {"capacity": SECTORS - 128},
        "grain 0": {"grain": 0},
        "grain 3": {"grain": 3},
        "grain 4": {"grain": 4},
        "grain is absurd": {"grain": 1 << 40},
        "no table entries": {"entries": 0},
        "absurd table entries": {"entries": 0xFFFFFFFF},
        "overhead 0": {"overhead": 0},
        "overhead is absurd": {"overhead": 1 << 55},
        "overhead 1 GiB": {"overhead": 1 << 21},
        "not deflate": {"compression": 2},
        "text-mode transfer": {"newlines": b"\n \n\n"},
        "unclean 9": {"unclean": 9},
        "descriptor behind the data": {"descriptor": 1 << 40},
        "descriptor 0": {"descriptor": 0},
        "descriptor is absurd": {"descriptor_sectors": 1 << 60},
        "no descriptor": {"descriptor_sectors": 0},
        "directory 0": {"directory": 0},
    }
    for name, lie in lies.items():
        yield f"header: {name}", replace(HONEST, header=lie).write()


def _descriptors() -> Iterator[tuple[str, bytes]]:
    extents = {
        "absolute": f'RW {SECTORS} SPARSE "/etc/shadow"',
        "parent folder": f'RW {SECTORS} SPARSE "../../other/disk.vmdk"',
        "two dots": f'RW {SECTORS} SPARSE ".."',
        "device": f'RW {SECTORS} FLAT "/dev/sda" 0',
        "backslashes": f'RW {SECTORS} SPARSE "..\\..\\disk.vmdk"',
        "protocol": f'RW {SECTORS} SPARSE "nbd:10.0.0.1:10809"',
        "json": f'RW {SECTORS} SPARSE "json:{{}}"',
        "no name": f'RW {SECTORS} SPARSE ""',
        "device type": f'RW {SECTORS} VMFSRDM "disk-rdm.vmdk"',
        "flat": f'RW {SECTORS} FLAT "disk-flat.vmdk" 0',
        "zero": f"RW {SECTORS} ZERO",
        "none": "",
        "no access": f'NOACCESS {SECTORS} SPARSE "disk.vmdk"',
        "two": f'RW {SECTORS} SPARSE "a.vmdk"\nRW {SECTORS} SPARSE "b.vmdk"',
        "size 0": 'RW 0 SPARSE "disk.vmdk"',
        "another size": f'RW {SECTORS - 1} SPARSE "disk.vmdk"',
        "size is absurd": f'RW {10**17} SPARSE "disk.vmdk"',
        "newline in the name": f'RW {SECTORS} SPARSE "a\nb.vmdk"',
    }
    for name, line in extents.items():
        yield f"extent: {name}", replace(HONEST, descriptor=descriptor(SECTORS, extent=line)).write()
    for kind in ["monolithicFlat", "custom", "fullDevice", "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap", ""]:
        yield f"type: {kind}", replace(HONEST, descriptor=descriptor(SECTORS, kind=kind)).write()
    honest = descriptor(SECTORS)
    texts = {
        "parent": honest.replace(b"parentCID=ffffffff", b"parentCID=7c3aeb10"),
        "no parent id": honest.replace(b"parentCID=ffffffff\n", b""),
        "parent file": descriptor(SECTORS, more='parentFileNameHint="/var/lib/secret.vmdk"'),
        "two types": descriptor(SECTORS, more='createType="monolithicFlat"'),
        "a parent, then none": honest.replace(b"version=1\n", b"version=1\nparentCID=12345678\n"),
        "two parents, other case": descriptor(SECTORS, more="PARENTCID=12345678"),
        "unknown line": descriptor(SECTORS, more="include /etc/passwd"),
        "bytes behind its end": honest + b"\0\0createType=custom",
        "binary": random.Random(3).randbytes(2000),
        "empty": b"\0",
    }
    for name, text in texts.items():
        yield f"descriptor: {name}", replace(HONEST, descriptor=text).write()


def _grains() -> Iterator[tuple[str, bytes]]:
    def at(sector: int, data: bytes) -> list[Piece]:
        return [*GRAINS[:3], (sector, data)]

    good = GRAINS[0][1]
    full = zlib.compress(b"x" * GRAIN)
    broken = bytearray(full)
    broken[-1] ^= 1
    grains = {
        "descending": [GRAINS[1], GRAINS[0], *GRAINS[2:]],
        "the same again": at(256, good),
        "loop to the first": at(0, good),
        "between grains": at(5 * 128 + 1, good),
        "behind the disk": at(SECTORS, good),
        "absurd place": at(1 << 58, good),
        "bomb, 1 MiB": at(640, zlib.compress(bytes(1 << 20), 9)),
        "bomb, 1 GiB": at(640, _bomb(1 << 30)),
        "one byte too many": at(640, zlib.compress(bytes(GRAIN + 1))),
        "one byte too few": at(640, zlib.compress(bytes(GRAIN - 1))),
        "inflates to nothing": at(640, zlib.compress(b"")),
        "no zlib": at(640, b"\x00\x01\x02\x03" * 40),
        "checksum": at(640, bytes(broken)),
        "half of it": at(640, full[:-20]),
    }
    for name, changed in grains.items():
        yield f"grain: {name}", replace(HONEST, grains=changed).write()
    front = WHOLE[: 128 * SECTOR]
    yield "grain: absurd size", front + grain(0, good, 0xFFFFFFFF) + bytes(1 << 20)
    yield "grain: twice its size", front + grain(0, bytes(2 * GRAIN)) + bytes(1 << 20)


def _bomb(size: int) -> bytes:
    """That many zeros, compressed: it is small enough to pass for a grain's data, were it not for what it becomes."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20))[:60_000]


def _tables() -> Iterator[tuple[str, bytes]]:
    def swap(table: list[int]) -> list[int]:
        return [table[1], table[0], *table[2:]]

    whole = padded([0] * ENTRIES)
    lies: dict[str, dict[str, Any]] = {
        "entries swapped": {"table": swap},
        "grain not named": {"table": lambda table: [0, *table[1:]]},
        "grain too many": {"table": lambda table: [*table[:-1], 9999]},
        "missing": {"table": lambda table: None},
        "table not asked for": {"before_directory": marker(4, 1) + padded([7] * ENTRIES)},
        "directory entry": {"directory": lambda entries: [entries[0] + 1, *entries[1:]]},
        "directory names a table too many": {"directory": lambda entries: [entries[0], 130, *entries[2:]]},
        "directory drops a table": {"directory": lambda entries: [0, *entries[1:]]},
        "directory behind its end": {"directory": lambda entries: [*entries, 1]},
        "no directory": {"directory": lambda entries: None},
        "no footer": {"with_footer": False},
        "two directories": {"after_directory": marker(1, 2) + bytes(SECTOR)},
        "grain behind the directory": {
            "grains": GRAINS[:-1],
            "after_directory": grain(SECTORS - 128, GRAINS[0][1]),
        },
        "table behind the directory": {"after_directory": marker(4, 1) + whole},
        "two footers": {"before_end": marker(1, 3) + header(SECTORS, 5)},
        "footer: other capacity": {"footer": {"capacity": SECTORS * 2}},
        "footer: other grain": {"footer": {"grain": 64}},
        "footer: directory at the end": {"footer": {"directory": AT_END}},
        "footer: directory elsewhere": {"footer": {"directory": 130}},
        "footer: garbage": {"footer": {"magic": b"\0\0\0\0"}},
        "unknown marker": {"before_directory": marker(1, 77) + bytes(SECTOR)},
        "absurd marker": {"before_directory": marker(1 << 60, 1)},
        "absurd progress": {"before_directory": marker(1 << 60, 4)},
        "more tables than the disk has": {"before_directory": (marker(4, 1) + whole) * 4},
        "end with a length": {"end": marker(3, 0)},
        "bytes behind the end": {"end": bytes(SECTOR) + b"x" * 100},
        "2 MiB of zeros behind the end": {"end": bytes(2 << 20)},
    }
    for name, lie in lies.items():
        yield f"tables: {name}", replace(HONEST, **lie).write()
    yield "tables: the rest is zeros", WHOLE[: len(WHOLE) // 2 // SECTOR * SECTOR] + bytes(len(WHOLE) // 2)
    yield "tables: zeros after a grain", WHOLE[: 128 * SECTOR + len(grain(*GRAINS[0]))] + bytes(1 << 20)
    progress = marker(0, 4) * 4096
    yield (
        "tables: progress without end",
        WHOLE[: 128 * SECTOR] + progress * (1 + (2 * CAPACITY + (65 << 20)) // len(progress)),
    )


def _leading() -> Iterator[tuple[str, bytes]]:
    small = DISK[: 32 << 20]
    edits: dict[str, Callable[[], bytes]] = {
        "directory outside": lambda: leading(small, directory=1 << 50),
        "directory past the end": lambda: leading(small, directory=128),
        "table outside": lambda: leading(small, table=0xFFFFFFF0),
        "table in sector 0": lambda: leading(small, table=0),
        "entry elsewhere": lambda: leading(small, entry=lambda place: place + 1),
        "grain not named": lambda: leading(small, entry=lambda place: 0),
        "table marker": lambda: leading(small[: 1 << 20]) + marker(4, 1) + bytes(4 * SECTOR),
        "zeros instead of grains": lambda: leading(small)[: 128 * SECTOR] + bytes(1 << 20),
        "overhead of 300 MiB": lambda: header(SECTORS, 21, overhead=700_000) + bytes(SECTOR),
    }
    for name, edit in edits.items():
        stream = edit()
        yield f"leading: {name}", stream if "overhead" in name else _relabelled(stream)


def _relabelled(stream: bytes) -> bytes:
    """Keep the header's places, and claim the whole disk's capacity."""
    return (
        stream[:12]
        + SECTORS.to_bytes(8, "little")
        + stream[20:SECTOR]
        + descriptor(SECTORS).ljust(20 * SECTOR, b"\0")
        + stream[21 * SECTOR :]
    )


def _garbage() -> Iterator[tuple[str, bytes]]:
    yield "garbage: noise", random.Random(1).randbytes(1 << 20)
    yield "garbage: zeros", bytes(1 << 20)
    yield "garbage: a qcow2", b"QFI\xfb" + bytes(1 << 16)
    yield "garbage: a web page", b"<html><body>503 Service Unavailable</body></html>".ljust(4096)
    yield "garbage: a descriptor file", descriptor(SECTORS, extent=f'RW {SECTORS} FLAT "/dev/sda" 0').ljust(1024, b"\0")


def decode(stream: bytes) -> bytes:
    """The disk in a stream, through the product's reader."""
    out = bytearray(CAPACITY)
    reader = StreamReader(Memory(stream), CAPACITY)
    for piece in reader:
        data = reader.inflate(piece)
        out[piece.offset : piece.offset + len(data)] = data
    return bytes(out)
