"""Every lie in a file is refused, soon, with little memory, and without a look outside the folder."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.errors import VmferryError
from app.process import run
from converters.folder import Folder
from converters.vmdk_disk import open_vmdk
from tests.hostile import vmdk_files
from tests.hostile.corpus import DISK, WHOLE
from tests.hostile.watching import opened, peak

CASES = list(vmdk_files.cases())
MIB = 1 << 20


def read(folder: Path) -> bytes:
    with Folder(folder) as files, open_vmdk(files, "disk.vmdk") as disk:
        out = bytearray(min(disk.capacity, len(DISK)))
        reader = disk.open_reader()
        for offset, length in disk.areas():
            reader.start(offset, length)
            for start in range(offset, offset + length, MIB):
                buffer = bytearray(min(MIB, offset + length - start))
                reader.fill(memoryview(buffer))
                out[start : start + len(buffer)] = buffer
        return bytes(out)


def test_the_honest_ones_are_read(tmp_path: Path) -> None:
    for image in (vmdk_files.hosted().write(), WHOLE, WHOLE + bytes(512 << 10)):
        (tmp_path / "disk.vmdk").write_bytes(image)
        with opened() as paths:
            assert read(tmp_path) == DISK
        assert set(paths) == {str(tmp_path), "disk.vmdk"}


def test_the_corpus_is_large_and_named() -> None:
    assert len(CASES) >= 150
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("files", "error"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused(tmp_path: Path, files: vmdk_files.Files, error: type[VmferryError]) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    vmdk_files.make(folder, files)
    begun = time.monotonic()
    with opened() as paths, pytest.raises(error) as caught:
        read(folder)
    assert type(caught.value) is error
    assert caught.value.remedy
    assert time.monotonic() - begun < 10
    assert set(paths) <= {str(folder), *(name for name in files if "/" not in name)}


def test_memory_stays_bounded() -> None:
    """In a process of its own, which reads every case."""
    done = run([sys.executable, "-m", "tests.hostile.test_vmdk_files"], timeout=600)
    assert int(done.text) < 200 * MIB


def grown() -> int:
    """Bytes by which reading every case raised this process's peak."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use
    before = peak()
    for _, files, _ in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "vm")
            folder.mkdir()
            vmdk_files.make(folder, files)
            with suppress(VmferryError):
                read(folder)
    return peak() - before


if __name__ == "__main__":
    print(grown())
