"""Whether KVM works here. That /dev/kvm exists proves nothing: on some machines a guest on it hangs or aborts."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

from app.domain.errors import ToolFailed, ToolMissing, ToolTimedOut
from app.process import run

BOOT_SECONDS = 5.0
_QEMUS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
_EXIT_PORT = 0x501
_EXIT_VALUE = 0x10
_EXIT_CODE = _EXIT_VALUE << 1 | 1  # what isa-debug-exit makes of the value
# mov dx, port; mov al, value; out dx, al; hlt; jmp to the hlt
_BOOT_CODE = bytes((0xBA, _EXIT_PORT & 0xFF, _EXIT_PORT >> 8, 0xB0, _EXIT_VALUE, 0xEE, 0xF4, 0xEB, 0xFD))
_BOOT_SECTOR = _BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"


def resolve(choice: Literal["auto", "kvm", "tcg"]) -> Literal["kvm", "tcg"]:
    """What the user chose, or what `probe` finds."""
    return probe() if choice == "auto" else choice


@cache
def probe() -> Literal["kvm", "tcg"]:
    """ "kvm" when a boot sector that runs on it gives the expected sign within BOOT_SECONDS, else "tcg".

    Asked once for each process. Raises ToolMissing without a QEMU.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    return "kvm" if boots("kvm") else "tcg"


def boots(accelerator: str, timeout: float = BOOT_SECONDS) -> bool:
    """Whether QEMU runs our boot sector on this accelerator."""
    qemu = next((name for name in _QEMUS if shutil.which(name)), _QEMUS[0])
    with tempfile.TemporaryDirectory(prefix="vmferry-probe-") as folder:
        sector = Path(folder, "boot.img")
        sector.write_bytes(_BOOT_SECTOR * 2880)  # a floppy's size, which SeaBIOS wants
        argv = [qemu, "-accel", accelerator, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config"]
        argv += ["-display", "none", "-no-reboot", "-boot", "a"]
        argv += ["-drive", f"file={sector},format=raw,if=floppy,readonly=on"]
        argv += ["-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=2"]
        try:
            run(argv, timeout=timeout, ok=(_EXIT_CODE,))
        except ToolMissing:
            raise
        except (ToolFailed, ToolTimedOut):
            return False
        return True
