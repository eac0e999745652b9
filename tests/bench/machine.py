"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

TOOLS = {
    "qemu-img": ("qemu-img", "--version"),
    "nbdkit": ("nbdkit", "--version"),
    "nbdcopy": ("nbdcopy", "--version"),
    "curl": ("curl", "--version"),
    "virt-v2v": ("virt-v2v", "--version"),
}


def describe(folder: Path) -> dict[str, object]:
    """CPU, memory, kernel, the file system of `folder`, versions of tools."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "kvm": os.access("/dev/kvm", os.W_OK),
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "tools": {name: version(argv) for name, argv in TOOLS.items()},
    }


def version(argv: tuple[str, ...]) -> str:
    """The first number in the first line of what a tool says of itself; empty when it is not there."""
    try:
        said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else ""


def _file_system(folder: Path) -> str:
    said = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)], capture_output=True, text=True, check=False
    )
    return said.stdout.strip()
