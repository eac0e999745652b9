"""The smallest UEFI program that there is: unsigned, and over at once. And a disk that boots it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

MIB = 1 << 20
_CODE = b"\x31\xc0\xc3"  # xor eax, eax; ret: EFI_SUCCESS
_ALIGNMENT = 512
_SUBSYSTEM = 10  # an EFI application


def program() -> bytes:
    """A PE32+ image of one section."""
    code = _CODE.ljust(_ALIGNMENT, b"\0")
    file_header = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x0222)
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, len(code), 0, 0, 4096, 4096)
    optional += struct.pack("<QIIHHHHHHI", 0x400000, 4096, _ALIGNMENT, 0, 0, 0, 0, 0, 0, 0)
    optional += struct.pack("<IIIHHQQQQII", 8192, _ALIGNMENT, 0, _SUBSYSTEM, 0, 0, 0, 0, 0, 0, 16)
    optional += bytes(16 * 8)  # no data directories, and so no signature
    section = struct.pack("<8sIIIIIIHHI", b".text", len(_CODE), 4096, len(code), _ALIGNMENT, 0, 0, 0, 0, 0x60000020)
    header = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + file_header + optional + section
    return header.ljust(_ALIGNMENT, b"\0") + code


def make_disk(path: Path) -> None:
    """A raw disk with the program where firmware looks on a disk that it was told nothing about."""
    image = path.with_suffix(".efi")
    image.write_bytes(program())
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    for arguments in (
        ["mformat", "-i", path, "-F", "::"],
        ["mmd", "-i", path, "::/EFI", "::/EFI/BOOT"],
        ["mcopy", "-i", path, image, "::/EFI/BOOT/BOOTX64.EFI"],
    ):
        subprocess.run(arguments, check=True)
    image.unlink()
