"""Windows' registry: an empty hive, written by hand, and what hivexregedit merges into it."""

import struct
import time
from pathlib import Path

from tests.lab.toolchain import run

BLOCK = 4096
NONE = 0xFFFFFFFF
KEY_AT, SECURITY_AT, FREE_AT = 0x20, 0xA0, 0xE0  # cells, counted from the first block
ROOT_NAME = b"ROOT"
EPOCH_1601 = 11644473600


def make_hive(path: Path, root: str, registry: str) -> None:
    """A hive in which `registry`, a text as of a .reg file, is below `root`, as in HKEY_LOCAL_MACHINE\\SYSTEM."""
    path.write_bytes(empty_hive())
    merge = path.with_suffix(".reg")
    merge.write_text("Windows Registry Editor Version 5.00\n" + with_parents(registry, root), encoding="utf-8")
    run(["hivexregedit", "--merge", "--prefix", root, str(path), str(merge)])
    merge.unlink()


def with_parents(registry: str, root: str) -> str:
    """Before each key those above it: hivexregedit makes one at a time."""
    lines: list[str] = []
    for line in registry.splitlines():
        if line.startswith("["):
            words = line.strip("[]").removeprefix(f"{root}\\").split("\\")
            lines += [f"\n[{root}\\" + "\\".join(words[:count]) + "]" for count in range(1, len(words))]
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def empty_hive() -> bytes:
    """A file header, and one block with a root key, its security descriptor, and room."""
    now = int((time.time() + EPOCH_1601) * 10_000_000)
    sums = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, now, 1, 3, 0, 1, KEY_AT, BLOCK, 1)
    header = bytearray(sums.ljust(BLOCK, b"\0"))
    checksum = 0
    for (word,) in struct.iter_unpack("<I", header[:0x1FC]):
        checksum ^= word
    struct.pack_into("<I", header, 0x1FC, checksum)
    block = bytearray(struct.pack("<4sII8xQI", b"hbin", 0, BLOCK, now, 0).ljust(BLOCK, b"\0"))
    key = struct.pack(
        "<2sHQIIIIIIIIIIIIIIIHH",
        *(b"nk", 0x2C, now, 0, NONE, 0, 0, NONE, NONE, 0, NONE, SECURITY_AT, NONE, 0, 0, 0, 0, 0, len(ROOT_NAME), 0),
    )
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)  # self-relative, and says nothing
    security = struct.pack("<2sHIIII", b"sk", 0, SECURITY_AT, SECURITY_AT, 1, len(descriptor)) + descriptor
    for at, size, cell in (
        (KEY_AT, KEY_AT - SECURITY_AT, key + ROOT_NAME),
        (SECURITY_AT, SECURITY_AT - FREE_AT, security),
        (FREE_AT, BLOCK - FREE_AT, b""),  # a positive size: it is free
    ):
        block[at : at + 4] = struct.pack("<i", size)
        block[at + 4 : at + 4 + len(cell)] = cell
    return bytes(header + block)
