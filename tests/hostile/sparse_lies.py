"""Sparse files that lie about where their grains are: in their headers, directories, tables and markers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tests.hostile.corpus import CAPACITY, DISK, HONEST, SECTORS, WHOLE
from tests.hostile.sparse_files import SE_DIRECTORY, SE_TABLES, Hosted, cowd, grains_of, se_sparse, text
from tests.hostile.streams import GRAIN, SECTOR, descriptor

Files = Mapping[str, object]


@dataclass(frozen=True)
class Hole:
    """A file that is huge and takes no room; `data` is at its start."""

    size: int
    data: bytes = b""


def hosted(**keys: str) -> Hosted:
    return Hosted(SECTORS, grains_of(DISK), text("monolithicSparse", f'RW {SECTORS} SPARSE "disk.vmdk"', **keys))


def header_lies() -> Iterator[tuple[str, Files]]:
    honest = hosted()
    lies: dict[str, dict[str, int | bytes]] = {
        "not closed": {"unclean": 1},
        "version 9": {"version": 9},
        "markers": {"flags": 0x20003},
        "compressed without markers": {"flags": 0x10003},
        "an unknown flag": {"flags": 0x83},
        "deflate": {"compression": 1},
        "text-mode transfer": {"newlines": b"\n \n\n"},
        "capacity 0": {"capacity": 0},
        "capacity is absurd": {"capacity": 1 << 62},
        "capacity is larger": {"capacity": SECTORS + 128},
        "grain 3": {"grain": 3},
        "grain is absurd": {"grain": 1 << 40},
        "tables of 511": {"entries": 511},
        "directory 0": {"directory": 0},
        "directory at the end": {"directory": (1 << 64) - 1},
        "directory behind the file": {"directory": 1 << 50},
        "directory in the header": {"directory": 0, "second": 0, "flags": 1},
        "directory in the descriptor": {"directory": 3},
        "directory is its copy": {"directory": honest.copy},
        "copy behind the file": {"second": 1 << 40},
        "a copy, and none": {"second": 0},
        "overhead is absurd": {"overhead": 1 << 55},
        "descriptor behind the file": {"descriptor": 1 << 40},
        "descriptor of 1 GiB": {"descriptor_sectors": 1 << 21},
        "no descriptor": {"descriptor": 0, "descriptor_sectors": 0},
    }
    for name, lie in lies.items():
        yield f"header: {name}", {"disk.vmdk": honest.write(**lie)}
    split = Hosted(SECTORS, {}, text("twoGbMaxExtentSparse", f'RW {SECTORS} SPARSE "s.vmdk"')).write()
    yield "header: descriptor of another type", {"disk.vmdk": split}
    huge = 62 << 31  # sectors
    claim = Hosted(SECTORS, {}, text("monolithicSparse", f'RW {huge} SPARSE "disk.vmdk"')).write(capacity=huge)
    yield "header: 62 TiB, and no tables", {"disk.vmdk": bytes(claim)}
    yield "header: 62 TiB, and a directory of a hole", {"disk.vmdk": Hole(1 << 40, bytes(claim))}
    struct.pack_into("<Q", claim, 20, 8)
    yield "header: 62 TiB in grains of 4 KiB", {"disk.vmdk": Hole(1 << 40, bytes(claim))}


def table_lies() -> Iterator[tuple[str, Files]]:
    honest = hosted()
    whole = honest.write()
    last = len(whole) // SECTOR
    first, second = (struct.unpack_from("<I", whole, honest.entry(number))[0] for number in (0, 1))
    directory, copy = honest.directory * SECTOR, honest.copy * SECTOR

    def patched(*changes: tuple[int, int]) -> Files:
        image = bytearray(whole)
        for place, value in changes:
            struct.pack_into("<I", image, place, value)
        return {"disk.vmdk": image}

    def grain(number: int, sector: int) -> Files:
        image = bytearray(whole)
        honest.place(image, number, sector)
        return {"disk.vmdk": image}

    yield "tables: one behind the file", patched((directory, last), (copy, last))
    yield "tables: one at an absurd place", patched((directory, 0xFFFFFFFF))
    yield "tables: one in the header", patched((directory, 1))
    yield "tables: the directory in itself", patched((directory, honest.directory))
    yield "tables: one twice", patched((directory + 4, honest.tables))
    yield "tables: two that overlap", patched((directory + 4, honest.tables + 2))
    yield "tables: one that is the copy of another", patched((directory + 4, honest.copies))
    yield "tables: one without its copy", patched((copy + 4, 0))
    yield "tables: a copy without its table", patched((directory + 4, 0))
    yield "tables: a copy that differs", patched((honest.entry(0, copy=True), second))
    yield "tables: a copy that is empty", patched((honest.entry(0, copy=True), 0))
    yield "tables: empty, and a copy that is not", patched((honest.entry(600, copy=True), last - 128))
    yield "grain: behind the file", grain(3, last)
    yield "grain: half behind the file", grain(3, last - 64)
    yield "grain: at an absurd place", grain(3, 0xFFFFFFFF)
    yield "grain: behind the end of the disk", grain(1280, first)
    yield "grain: zeros that were not announced", grain(3, 1)
    yield "grain: in the descriptor", grain(3, 2)
    yield "grain: in the tables", grain(3, honest.tables + 1)
    yield "grain: its own table", grain(0, honest.tables)
    yield "grain: in the directory", grain(3, honest.directory)
    yield "grain: two in one place", grain(3, first)
    yield "grain: two in one place, in another table", grain(1100, first)
    yield "grain: overlaps the one before", grain(1279, first + 1)
    yield "grain: overlaps the one behind", grain(1279, second - 1)
    yield "grain: all in one place", {"disk.vmdk": _all_in_one_place()}
    yield "grain: overlaps, 2 TiB into the file", _far_apart()


def _all_in_one_place() -> bytes:
    honest = hosted()
    image = honest.write()
    for number in range(SECTORS // 128):
        honest.place(image, number, honest.data)
    return bytes(image)


def _far_apart() -> Files:
    """Small grains at both ends of what an entry can name, and two of them half over each other."""
    described = text("monolithicSparse", f'RW {SECTORS} SPARSE "disk.vmdk"')
    small = Hosted(SECTORS, {5: b"x" * 4096}, described, grain=8)
    image = small.write()
    top = 0xFFFFFFFF - 1000
    small.place(image, 700, top)
    small.place(image, 701, top - 4)
    return {"disk.vmdk": Hole(3 << 40, bytes(image))}


def _delta(kind: str, line: str, data: object) -> Files:
    extent = f'RW {SECTORS} {line} "d.vmdk"'
    return {
        "disk.vmdk": text(kind, extent, parent="base.vmdk", parent_cid="abcd"),
        "base.vmdk": text("vmfs", f'RW {SECTORS} VMFS "base-flat.vmdk"', cid="abcd"),
        "base-flat.vmdk": Hole(CAPACITY),
        "d.vmdk": data,
    }


def cowd_lies() -> Iterator[tuple[str, Files]]:
    grains = {0: b"a" * SECTOR, 1: b"b" * SECTOR, 5000: b"c" * SECTOR}
    honest = cowd(SECTORS, grains)
    table = struct.unpack_from("<I", honest, 4 * SECTOR)[0]

    def patched(place: int, value: int) -> bytes:
        image = bytearray(honest)
        struct.pack_into("<I", image, place, value)
        return bytes(image)

    images: dict[str, object] = {
        "signature": cowd(SECTORS, grains, magic=0x564D444B),
        "version": cowd(SECTORS, grains, version=2),
        "flags": cowd(SECTORS, grains, flags=0x100),
        "not closed": cowd(SECTORS, grains, unclean=1),
        "capacity 0": cowd(SECTORS, grains) [:12] + bytes(4) + honest[16:],
        "another capacity": cowd(SECTORS - 8, grains),
        "grain 3": patched(16, 3),
        "too few tables": patched(24, 2),
        "absurdly many tables": patched(24, 0xFFFFFFFF),
        "directory 0": patched(20, 0),
        "directory behind the file": patched(20, 0xFFFFFFF0),
        "directory in the header": patched(20, 1),
        "a table behind the file": patched(4 * SECTOR, 0xFFFFFFF0),
        "a table twice": patched(4 * SECTOR + 4, table),
        "two grains in one place": patched(table * SECTOR + 8, table + 32),
        "a grain in a table": patched(table * SECTOR + 8, table + 3),
        "a grain in sector 1": patched(table * SECTOR + 8, 1),
        "a grain behind the file": patched(table * SECTOR, len(honest) // SECTOR),
        "half of it": bytes(honest[: len(honest) // 2]),
        "nothing": b"",
    }  # fmt: skip
    for name, image in images.items():
        yield f"COWD: {name}", _delta("vmfsSparse", "VMFSSPARSE", image)
    yield "COWD: by itself", {"disk.vmdk": honest}


def se_sparse_lies() -> Iterator[tuple[str, Files]]:
    grains = {0: b"a" * 4096, 1: b"b" * 4096, 5000: b"c" * 4096}

    def lie(**lies: int) -> bytearray:
        return se_sparse(SECTORS, grains, **lies)

    honest = lie()

    def patched(place: int, value: int) -> bytes:
        image = bytearray(honest)
        struct.pack_into("<Q", image, place, value)
        return bytes(image)

    images: dict[str, object] = {
        "signature": lie(magic=0xCAFEBABF),
        "version": lie(version=0x200000002),
        "grain of 64 KiB": lie(grain=128),
        "table of 128": lie(table=128),
        "flags": lie(flags=1),
        "reserved": lie(r3=1),
        "bytes behind the header": patched(400, 1),
        "a journal to be replayed": lie(replay=1),
        "no state": lie(state=2),
        "state behind the file": lie(state=1 << 60),
        "capacity 0": patched(16, 0),
        "absurd capacity": patched(16, 1 << 50),
        "another capacity": patched(16, SECTORS - 8),
        "directory too short": lie(directory_size=0),
        "directory behind the file": lie(directory=1 << 40),
        "directory in the header": lie(directory=0),
        "tables behind the file": lie(tables_size=1 << 40),
        "grains among the tables": patched(24 * 8, SE_TABLES),
        "directory: another kind": patched(SE_DIRECTORY * SECTOR, 0x2000000000000000),
        "directory: table 5000": patched(SE_DIRECTORY * SECTOR, 0x1000000000001388),
        "directory: a table twice": patched(SE_DIRECTORY * SECTOR, 0x1000000000000001),
        "entry: kind 4": patched(SE_TABLES * SECTOR, 0x4000000000000000),
        "entry: kind 0 with a place": patched(SE_TABLES * SECTOR, 77),
        "entry: behind the file": patched(SE_TABLES * SECTOR, 0x3FFF000000000000),
        "entry: absurd": patched(SE_TABLES * SECTOR, 0x3000FFFFFFFFFFFF),
        "entry: two in one place": patched(SE_TABLES * SECTOR, 0x3001000000000000),
        "a sector short": bytes(honest[:-SECTOR]),
        "nothing": b"",
    }
    for name, image in images.items():
        yield f"seSparse: {name}", _delta("seSparse", "SESPARSE", image)
    yield "seSparse: by itself", {"disk.vmdk": honest}


def stream_lies() -> Iterator[tuple[str, Files]]:
    """Compressed disks are read by their tables here: those may say what they like."""

    def swap(table: list[int]) -> list[int]:
        return [table[1], table[0], *table[2:]]

    edits: dict[str, Callable[[list[int]], list[int] | None]] = {
        "grains swapped": swap,
        "one grain twice": lambda table: [table[0], table[0], *table[2:]],
        "a grain behind the file": lambda table: [0xFFFFFF, *table[1:]],
        "a grain in the header": lambda table: [5, *table[1:]],
        "a grain in the table": lambda table: [len(WHOLE) // SECTOR - 6, *table[1:]],
    }
    for name, edit in edits.items():
        yield f"stream: {name}", {"disk.vmdk": replace(HONEST, table=edit).write()}
    yield "stream: no footer", {"disk.vmdk": replace(HONEST, with_footer=False).write()}
    yield "stream: no end", {"disk.vmdk": WHOLE[:-SECTOR]}
    yield "stream: bytes behind its end", {"disk.vmdk": WHOLE + bytes(SECTOR - 1) + b"x"}
    yield "stream: 2 MiB of zeros behind its end", {"disk.vmdk": WHOLE + bytes(2 << 20)}
    yield "stream: a byte short", {"disk.vmdk": WHOLE[:-1]}
    yield "stream: another capacity in its footer", {"disk.vmdk": replace(HONEST, footer={"capacity": 128}).write()}
    yield (
        "stream: its footer points at the end",
        {"disk.vmdk": replace(HONEST, footer={"directory": (1 << 64) - 1}).write()},
    )
    yield "stream: its directory is elsewhere", {"disk.vmdk": replace(HONEST, footer={"directory": 1 << 40}).write()}
    bomb = zlib.compress(bytes(64 << 20), 9)
    yield "stream: a bomb", {"disk.vmdk": replace(HONEST, grains=[(0, bomb)]).write()}
    yield (
        "stream: a byte too few",
        {"disk.vmdk": replace(HONEST, grains=[(0, zlib.compress(bytes(GRAIN - 1)))]).write()},
    )
    kind = descriptor(SECTORS, kind="monolithicSparse")
    yield "stream: called sparse", {"disk.vmdk": replace(HONEST, descriptor=kind).write()}
