"""Which tools that a move needs are here, and their versions."""

from __future__ import annotations

import re
from pathlib import Path

from app.domain.errors import ToolFailed, ToolTimedOut
from app.process import run

TOOLS = ("qemu-img", "qemu-nbd", "virt-v2v-in-place")
VIRTIO_WIN = (Path("/usr/share/virtio-win/virtio-win.iso"), Path("/usr/share/virtio-win"))
ANSWER_SECONDS = 30.0


def versions(virtio_win: Path | None = None) -> dict[str, str]:
    """Tool → version; one that is missing, or does not say its version, is left out.

    "virtio-win" → the path of Windows' drivers: as set, else where virt-v2v looks by itself.
    """
    found = {tool: version(tool) for tool in TOOLS}
    drivers = [path for path in ((virtio_win,) if virtio_win else VIRTIO_WIN) if path.exists()]
    if drivers:
        found["virtio-win"] = str(drivers[0])
    return {tool: number for tool, number in found.items() if number}


def version(tool: str) -> str:
    """ "7.2.22", or empty when the tool is missing or broken."""
    try:
        answer = run([tool, "--version"], timeout=ANSWER_SECONDS)
    except (ToolFailed, ToolTimedOut):
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)*", answer.text)
    return found[0] if found else ""
