"""A virtio-win of our own making: the layout, the names, and nothing that would run."""

from collections.abc import Iterable
from pathlib import Path

from tests.lab.toolchain import run

DRIVERS = {"viostor": "viostor", "vioscsi": "vioscsi", "NetKVM": "netkvm", "Balloon": "balloon", "viorng": "viorng"}
SYSTEMS = ("w10/amd64", "w11/amd64", "2k16/amd64", "2k19/amd64", "2k22/amd64")
AGENTS = ("guest-agent/qemu-ga-x86_64.msi", "guest-agent/qemu-ga-i386.msi")


def make_folder(path: Path, systems: Iterable[str] = SYSTEMS, agents: Iterable[str] = AGENTS) -> Path:
    """As the ISO has it: viostor/2k19/amd64/viostor.sys, and beside it .inf and .cat."""
    files = [
        f"{folder}/{system}/{name}.{ending}"
        for folder, name in DRIVERS.items()
        for system in systems
        for ending in ("sys", "inf", "cat")
    ]
    for name in (*files, *agents):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"the lab's {name}\n")
    return path


def make_iso(path: Path, folder: Path) -> Path:
    run(["bsdtar", "--format=iso9660", "-C", str(folder), "-cf", str(path), "."])
    return path


def make_tools(path: Path) -> Path:
    """What virt-v2v takes from VIRT_TOOLS_DATA_DIR."""
    path.mkdir()
    for name in ("rhsrvany.exe", "pnp_wait.exe"):
        (path / name).write_text(f"the lab's {name}\n")
    return path
