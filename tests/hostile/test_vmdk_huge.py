"""The largest disk that vSphere has, in a sparse file: its tables are never in memory all at once."""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

from app.process import run
from converters.folder import Folder
from converters.vmdk_disk import open_vmdk
from tests.hostile.sparse_files import text
from tests.hostile.streams import SECTOR, header
from tests.hostile.watching import peak

CAPACITY = 62 << 40
MIB = 1 << 20


def write(path: Path, *, backwards: bool) -> None:
    """Empty tables, twice, 4 GiB each; in the order of the disk or in the opposite one."""
    sectors = CAPACITY // SECTOR
    count = sectors // 65536
    length = -(-count * 4 // SECTOR)
    copy = 21
    directory = copy + length + 4 * count
    data = -(-(directory + length + 4 * count) // 128) * 128
    fields: dict[str, int] = {"version": 1, "flags": 3, "second": copy, "overhead": data, "compression": 0}
    with path.open("wb") as file:
        file.write(header(sectors, directory, **fields))
        file.write(text("monolithicSparse", f'RW {sectors} SPARSE "{path.name}"'))
        for place in (copy, directory):
            tables = range(place + length, place + length + 4 * count, 4)
            file.seek(place * SECTOR)
            file.write(array("I", reversed(tables) if backwards else tables).tobytes())
        file.truncate(data * SECTOR)


def test_62_tib(tmp_path: Path) -> None:
    for backwards in (False, True):
        write(tmp_path / "disk.vmdk", backwards=backwards)
        done = run([sys.executable, "-m", "tests.hostile.test_vmdk_huge", tmp_path], timeout=300)
        assert int(done.text) < 300 * MIB


def read(folder: Path) -> int:
    """Open it, ask for what is allocated, read its end: the most memory that took."""
    with Folder(folder) as files, open_vmdk(files, "disk.vmdk") as disk:
        assert disk.capacity == CAPACITY
        assert list(disk.areas()) == []
        reader = disk.open_reader()
        reader.start(CAPACITY - MIB, MIB)
        buffer = bytearray(b"x" * MIB)
        reader.fill(memoryview(buffer))
        assert not any(buffer)
    return peak()


if __name__ == "__main__":
    print(read(Path(sys.argv[1])))
