"""What virtio-win has for which Windows, by the names in its folder or ISO. Hostile: names are only compared."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice, product
from pathlib import Path

from app.domain.errors import ToolFailed, ToolMissing, ToolTimedOut
from app.domain.host import WindowsTools
from app.domain.windows import SYSTEMS
from app.process import Limits, run

TOOLS_FOLDER = "/usr/share/virt-tools"  # where virt-v2v looks, unless VIRT_TOOLS_DATA_DIR says otherwise
RUNNERS = ("rhsrvany.exe", "pvvxsvc.exe")  # one of them runs virt-v2v's scripts at first boot
MOST_NAMES = 100_000
LISTING_SECONDS = 60.0
MIB = 1 << 20

_ARCHITECTURES = {"amd64": "amd64", "x86": "x86", "i386": "x86"}
_DISK = frozenset({"viostor.sys", "virtio_blk.sys", "vrtioblk.sys"})
_NETWORK = frozenset({"netkvm.inf", "virtio_net.inf"})
_AGENTS = {
    "qemu-ga-x64.msi": "amd64",
    "qemu-ga-x86_64.msi": "amd64",
    "rhev-qga64.msi": "amd64",
    "qemu-ga-x86.msi": "x86",
    "qemu-ga-i386.msi": "x86",
    "rhev-qga.msi": "x86",
}


def survey(path: Path) -> WindowsTools:
    """What Windows guests can get here. Nothing, where `path` cannot be read or is no virtio-win."""
    drivers, agents = parse(islice(_names(path), MOST_NAMES))
    folder = Path(os.environ.get("VIRT_TOOLS_DATA_DIR") or TOOLS_FOLDER)
    runner = any((folder / name).is_file() for name in RUNNERS)
    return WindowsTools(drivers=drivers, agents=agents, runner=runner)


def parse(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(drivers as in 2k19/amd64, the architectures that have a guest agent) of the files' paths.

    As virt-v2v reads them: NetKVM/2k19/amd64/netkvm.inf and by-os/amd64/2k19/netkvm.inf are the same to it.
    """
    found: dict[str, set[str]] = defaultdict(set)
    agents = set()
    for name in names:
        *folders, file = name.lower().split("/")
        if file in _AGENTS:
            agents.add(_AGENTS[file])
        if file in _DISK | _NETWORK:
            systems = [folder for folder in folders if folder in SYSTEMS]
            architectures = [_ARCHITECTURES[folder] for folder in folders if folder in _ARCHITECTURES]
            for system, architecture in product(systems, architectures):
                found[f"{system}/{architecture}"].add("disk" if file in _DISK else "network")
    return tuple(sorted(key for key, kinds in found.items() if len(kinds) == 2)), tuple(sorted(agents))


def _names(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield from _iso_names(path)
        return
    for folder, _, files in os.walk(path, followlinks=False):
        for file in files:
            yield os.path.join(os.path.relpath(folder, path), file)


def _iso_names(path: Path) -> list[str]:
    """By libarchive's bsdtar: it reads ISO 9660 with its extensions, and a crafted one hurts that process only."""
    try:
        limits = Limits(address_space=512 * MIB, cpu_seconds=int(LISTING_SECONDS))
        listing = run(["bsdtar", "-tf", path], timeout=LISTING_SECONDS, limits=limits)
    except ToolMissing:
        raise
    except (ToolFailed, ToolTimedOut):
        return []
    return listing.text.splitlines()
