"""Whether KVM works here. That /dev/kvm exists proves nothing: a guest on it may hang, abort, or crawl."""

from __future__ import annotations

import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Literal

from app.domain.errors import ToolFailed, ToolMissing, ToolTimedOut
from app.process import run
from converters.emulator import qemu

BOOT_SECONDS = 5.0
KVM_SECONDS = 1.0  # ten times what it takes where KVM works; where it crawls, emulation is faster
KVM_TRIES = 2
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
    """ "kvm" when a boot sector on it gives the expected sign about as soon as it does on TCG, else "tcg".

    Asked once for each process. Raises ToolMissing without a QEMU.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    emulated = boot_seconds("tcg")  # a busy machine slows both
    limit = BOOT_SECONDS if emulated is None else max(KVM_SECONDS, 4 * emulated)
    return "kvm" if any(boot_seconds("kvm", limit) is not None for _ in range(KVM_TRIES)) else "tcg"


def boot_seconds(accelerator: str, timeout: float = BOOT_SECONDS) -> float | None:
    """How long QEMU on this accelerator takes to run our boot sector; None when it does not in `timeout` seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vmferry-probe-") as folder:
        sector = Path(folder, "boot.img")
        sector.write_bytes(_BOOT_SECTOR * 2880)  # a floppy's size, which SeaBIOS wants
        argv = [qemu(), "-accel", accelerator, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config"]
        argv += ["-display", "none", "-no-reboot", "-boot", "a"]
        argv += ["-drive", f"file={sector},format=raw,if=floppy,readonly=on"]
        argv += ["-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=2"]
        try:
            run(argv, timeout=timeout, ok=(_EXIT_CODE,))
        except ToolMissing:
            raise
        except (ToolFailed, ToolTimedOut):
            return None
        return time.monotonic() - started
