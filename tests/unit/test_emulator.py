"""What the appliance's QEMU is given where it is emulated."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from converters.emulator import ENTRIES, arguments, unpacked

SETUP_SECTORS = 4
OFFSET = 300
ELF = b"\x7fELF" + bytes(5000) + ENTRIES[1] + bytes(100)


def image(payload: bytes, *, magic: bytes = b"HdrS") -> bytes:
    """A bzImage as far as we read it: the length of the packed kernel is that of its file, and four bytes."""
    made = bytearray((SETUP_SECTORS + 1) * 512 + OFFSET)
    made[0x1F1] = SETUP_SECTORS
    made[0x202:0x206] = magic
    struct.pack_into("<II", made, 0x248, OFFSET, len(payload) + 4)
    return bytes(made) + payload + struct.pack("<I", len(ELF)) + b"what follows"


def packed(elf: bytes) -> bytes:
    return lzma.compress(elf, check=lzma.CHECK_CRC32)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(image(packed(ELF)))
    return path


def test_the_kernel_is_unpacked(kernel: Path) -> None:
    assert Path(unpacked(str(kernel))).read_bytes() == ELF


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF" + bytes(4000),  # unpacked already, as on other machines than x86
        image(packed(ELF), magic=b"none"),
        image(b"\x28\xb5\x2f\xfd" + bytes(100)),  # by zstd
        image(packed(ELF)[:-12]),  # its end is missing
        image(packed(ELF.replace(ENTRIES[1], b""))),  # QEMU would not start it
    ],
)
def test_what_qemu_could_not_start_unpacked_stays_as_it_is(kernel: Path, data: bytes) -> None:
    kernel.write_bytes(data)
    assert unpacked(str(kernel)) == str(kernel)


def test_it_has_one_cpu_whatever_libguestfs_asks_for(kernel: Path) -> None:
    words = ["-m", "1280", "-smp", "8", "-append", "quiet", "-kernel", str(kernel)]
    changed = arguments(words)
    assert changed[:7] == ["-m", "1280", "-smp", "1", "-append", "quiet", "-kernel"]
    assert Path(changed[7]).read_bytes() == ELF


@pytest.mark.parametrize("words", [[], ["-version"], ["-machine", "none", "-qmp", "stdio"], ["-smp"]])
def test_the_rest_is_qemus(words: list[str]) -> None:
    assert arguments(words) == words
