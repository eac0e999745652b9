"""QEMU for the libguestfs appliance where KVM does not work: with one CPU, and a kernel that need not unpack itself.

libguestfs starts this command in QEMU's place (LIBGUESTFS_HV), virt-v2v's libguestfs too. One CPU: QEMU before 8.1 that
emulates several may run code for ever which another has replaced, and virt-v2v asks for all that the machine has. The
kernel: emulated, Linux spends a third of the appliance's start on unpacking itself, which takes us half a second.
"""

from __future__ import annotations

import lzma
import os
import shutil
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

COMMAND = "vmferry-emulator"  # as pyproject.toml names it
QEMUS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
ENTRIES = tuple(struct.pack("<III4s", 4, size, 18, b"Xen") for size in (4, 8))  # ELF notes: where PVH starts the kernel


def main() -> NoReturn:
    name = qemu()
    os.execvp(name, [name, *arguments(sys.argv[1:])])  # noqa: S606


def qemu() -> str:
    return next((name for name in QEMUS if shutil.which(name)), QEMUS[0])


def arguments(words: Sequence[str]) -> list[str]:
    """QEMU's, from those that libguestfs gives."""
    changed = list(words)
    for number, option in enumerate(words[:-1], start=1):
        if option == "-smp":
            changed[number] = "1"
        elif option == "-kernel":
            changed[number] = unpacked(words[number])
    return changed


def unpacked(kernel: str) -> str:
    """The path of the ELF file in a bzImage, in the memory of this process; `kernel` where QEMU could not start that.

    The kernel's documentation, arch/x86/boot.rst, has the header. Only xz is slow enough to be worth it.
    """
    image = Path(kernel).read_bytes()
    if image[0x202:0x206] != b"HdrS":
        return kernel
    offset, size = struct.unpack_from("<II", image, 0x248)
    offset += (image[0x1F1] + 1) * 512
    archive = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        elf = archive.decompress(image[offset : offset + size])
    except lzma.LZMAError:
        return kernel
    if not archive.eof or not any(entry in elf for entry in ENTRIES):
        return kernel
    file = os.memfd_create("kernel", 0)  # which QEMU inherits
    with open(file, "wb", closefd=False) as memory:
        memory.write(elf)
    return f"/proc/self/fd/{file}"
