"""An image read back is what QEMU wrote into it, however it lies in the file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from app.domain.errors import ToolFailed, TransferInterrupted, TransientError
from app.process import run
from converters import qcow2
from converters.image_reader import open_reader
from converters.qcow2 import Data, Format
from converters.qemu_nbd import open_nbd

MIB = 1 << 20
SIZE = 40 * MIB + 512


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, text, holes and single sectors; data in the last one."""
    path = tmp_path_factory.mktemp("raw") / "a.raw"
    source = random.Random(4)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for start in range(0, SIZE - MIB, MIB):
            file.seek(start + source.choice([0, 512, 4096, 65536]))
            file.write(source.choice([b"", b"x", source.randbytes(700_000), b"text" * 150_000]))
        file.seek(SIZE - 512)
        file.write(b"e" * 512)
    return path


def content(path: Path, format: Format) -> bytes:
    out = bytearray(SIZE)
    with open_reader(path, format, connections=1) as image:
        assert image.size == SIZE
        for piece in image.data():
            image.read(piece, memoryview(out)[piece.offset : piece.offset + piece.length])
    return bytes(out)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("raw", []),
        ("qcow2", []),
        ("qcow2", ["-o", "cluster_size=4K"]),
        ("qcow2", ["-o", "extended_l2=on,cluster_size=128K"]),
        ("qcow2", ["-c"]),
        ("qcow2", ["-c", "-o", "compression_type=zstd,cluster_size=2M"]),
        ("qcow2", ["-o", "compat=0.10"]),
    ],
    ids=["raw", "qcow2", "small clusters", "subclusters", "compressed", "zstd", "old"],
)
def test_what_qemu_wrote(raw: Path, tmp_path: Path, format: Format, options: list[str]) -> None:
    path = tmp_path / "a.img"
    run(["qemu-img", "convert", "-f", "raw", "-O", format, *options, raw, path])
    assert content(path, format) == raw.read_bytes()


def test_compressed_clusters_among_others(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path])
    new = os.urandom(3 * MIB)
    with open_nbd(path, writable=True) as image:
        image.write(new, 5 * MIB)
        image.flush()
    expected = bytearray(raw.read_bytes())
    expected[5 * MIB : 8 * MIB] = new
    assert content(path, "qcow2") == expected
    with qcow2.layout(path, "qcow2") as pieces:
        assert {piece.place is None for piece in pieces} == {True, False}


def test_where_the_file_ends_there_are_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(b"x" * 5000)
    buffer = memoryview(bytearray(b"?" * 10_000))
    with open_reader(path, "raw", connections=1) as image:
        image.read(Data(0, 10_000, 0), buffer)
    assert bytes(buffer) == b"x" * 5000 + bytes(5000)


def test_one_that_is_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, MIB)
    with (
        open_nbd(path, writable=True),
        pytest.raises(TransientError, match="in use"),
        open_reader(path, "qcow2", connections=1),
    ):
        pass
    with (
        open_reader(path, "qcow2", connections=1),
        open_reader(path, "qcow2", connections=1),
        pytest.raises(TransientError, match="in use"),
        open_nbd(path, writable=True),
    ):
        pass


def test_what_is_no_image_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    with pytest.raises(TransferInterrupted, match="No such file"), open_reader(path, "raw", connections=1):
        pass
    path.write_bytes(b"QFI\xfb" + bytes(600))
    with pytest.raises(ToolFailed), qcow2.layout(path, "qcow2") as pieces:
        list(pieces)


def test_a_reader_that_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(b"x" * MIB)
    with open_reader(path, "raw", connections=1) as image:
        image.kill()
        with pytest.raises(TransferInterrupted, match="given up"):
            image.read(Data(0, 4096, 0), memoryview(bytearray(4096)))
