"""The disks that are measured: mixed real data, made once and kept in VMFERRY_BENCH_CACHE (~/.cache/vmferry-bench).

The data is this machine's: programs, libraries, texts from /usr, a quarter of it in compressed archives, in ext4 file
systems made without mounting anything; and the system disk of the lab's guest. So its size is fixed, its bytes differ
from machine to machine.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

from tests.bench.measure import tool
from tests.lab.cache import locked
from tests.lab.guest import Guest

MIB = 1 << 20
CELL = 64 << 10
PIECE = 4 * MIB
ROOTS = ("bin", "lib/x86_64-linux-gnu", "share", "lib")  # of /usr, in this order
ARCHIVES = 4  # one part of so many is archives
GROWTH = 1.15  # of a file system over its files
PARTITION = 2048 * 512


def cache() -> Path:
    path = Path(os.environ.get("VMFERRY_BENCH_CACHE") or Path.home() / ".cache/vmferry-bench")
    path.mkdir(parents=True, exist_ok=True)
    return path


def made(name: str, make: Callable[[Path], None]) -> Path:
    """The file or folder `name` of the cache; `make` is called with the path to make it at when it is not there."""
    path = cache() / name
    with locked(cache() / f"{name}.lock"):
        if not path.exists():
            print(f"making {path} …", flush=True)
            with tempfile.TemporaryDirectory(dir=cache(), prefix="making-") as work:
                make(Path(work) / name)
                (Path(work) / name).rename(path)
    return path


def system(guest: Guest) -> Path:
    """The guest's system disk with an ext4 of 2 GiB of mixed data behind it."""

    def make(path: Path) -> None:
        tool("cp", "--sparse=always", guest.disks[0], path)
        start = path.stat().st_size
        _file_system(path, start, 2048)

    return made(f"system-{guest.directory.name}.raw", make)


def stream(guest: Guest) -> Path:
    """`system` as a streamOptimized VMDK."""
    raw = system(guest)
    options = ("-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized")
    return made(f"{raw.stem}.vmdk", lambda path: void(tool("qemu-img", "convert", *options, raw, path)))


def flat(guest: Guest, mib: int) -> Path:
    """All data of `system`, again and again, without a hole and without a cell of zeros."""
    raw = system(guest)

    def make(path: Path) -> None:
        with path.open("wb") as file:
            while file.tell() < mib * MIB:
                for piece in _pieces(raw):
                    file.write(piece[: mib * MIB - file.tell()])

    return made(f"flat-{mib}-{raw.name}", make)


def sparse(guest: Guest, mib: int, percent: float) -> Path:
    """A disk of which `percent` is data of `system`, in pieces of 4 MiB spread all over it; the rest is a hole."""
    raw = system(guest)

    def make(path: Path) -> None:
        pieces = int(mib * MIB * percent / 100) // PIECE
        with path.open("wb") as file:
            file.truncate(mib * MIB)
            for number, piece in zip(range(pieces), _pieces(raw), strict=False):
                file.seek(number * (mib * MIB // pieces) // CELL * CELL)
                file.write(piece)

    return made(f"sparse-{mib}-{percent:g}-{raw.name}", make)


def second_disk(guest: Guest, mib: int) -> Path:
    """The guest's second disk, grown: the same UUID and marker, and `mib` of mixed data."""

    def make(path: Path) -> None:
        old = guest.disks[1]
        with old.open("rb") as file:
            boot = bytearray(file.read(512))
            file.seek(PARTITION + 1024 + 0x68)  # where ext4's superblock has its UUID
            uuid = file.read(16).hex()
        marker = path.with_name("marker")
        with tempfile.NamedTemporaryFile(dir=path.parent) as partition:
            with old.open("rb") as file, open(partition.name, "wb") as out:
                file.seek(PARTITION)
                shutil.copyfileobj(file, out, MIB)
            tool("debugfs", "-R", f"dump /marker {marker}", partition.name)
        sectors = _file_system(path, PARTITION, mib, extra=marker, uuid=uuid) // 512
        struct.pack_into("<I", boot, 446 + 12, sectors)
        with path.open("r+b") as file:
            file.write(boot)
        marker.unlink()

    return made(f"second-{mib}-{guest.directory.name}.raw", make)


def void(_said: str) -> None:
    """For a callable that must return nothing."""


def _file_system(disk: Path, start: int, mib: int, *, extra: Path | None = None, uuid: str = "") -> int:
    """An ext4 with `mib` of mixed files from byte `start` of `disk` on; its size in bytes."""
    size = int(mib * GROWTH) * MIB
    with tempfile.TemporaryDirectory(dir=disk.parent, prefix="tree-") as tree:
        _fill(Path(tree), mib * MIB)
        if extra:
            shutil.copy(extra, tree)
        with disk.open("ab") as file:
            file.truncate(start + size)
        words = [
            "-q",
            "-F",
            "-t",
            "ext4",
            "-m",
            "0",
            "-d",
            tree,
            "-E",
            f"offset={start}",
            *(["-U", uuid] if uuid else []),
        ]
        tool("mke2fs", *words, disk, f"{size // 1024}k")
    return size


def _fill(tree: Path, size: int) -> None:
    archives = size // ARCHIVES
    _archive(tree / "archive.tar.gz", archives // 2)
    _archive(tree / "archive.tar.xz", archives // 2)
    left = size - archives
    for round_ in count():
        for source in _files():
            length = source.stat().st_size
            if length > left:
                if left < CELL:
                    return
                continue
            left -= length
            copy = tree / f"usr-{round_}" / source.relative_to("/usr")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def _archive(path: Path, size: int) -> None:
    """A compressed tar of /usr, begun anew where that ends, until it has `size` bytes."""
    with path.open("wb") as file, _packer(path.suffix, file) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        while True:
            for source in _files():
                tar.add(source, recursive=False)
                if file.tell() >= size:
                    return


def _packer(suffix: str, file: IO[bytes]) -> gzip.GzipFile | lzma.LZMAFile:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3)
    return lzma.LZMAFile(file, mode="wb", preset=0)


def _files() -> Iterator[Path]:
    """Regular files below /usr that can be read, always in the same order, each once."""
    seen: set[tuple[int, int]] = set()
    for root in ROOTS:
        for folder, folders, names in os.walk(Path("/usr", root)):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                status = path.lstat()
                place = status.st_dev, status.st_ino
                if path.is_symlink() or not path.is_file() or place in seen:
                    continue
                seen.add(place)
                with suppress(PermissionError), path.open("rb"):
                    yield path


def _pieces(raw: Path) -> Iterator[bytes]:
    """The data of a sparse file up to PIECE at a time, in whole cells, of which none is all zeros."""
    zeros = bytes(CELL)
    with raw.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = 0
        piece = bytearray()
        while start < size:
            try:
                start = os.lseek(file.fileno(), start, os.SEEK_DATA) // CELL * CELL
            except OSError:  # no data behind
                break
            cell = os.pread(file.fileno(), CELL, start)
            start += CELL
            if len(cell) == CELL and cell != zeros:
                piece += cell
            if len(piece) == PIECE:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)
