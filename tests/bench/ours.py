"""How our side is called."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bench.measure import tool
from tests.lab.lab import Lab


def convert(source: Path, target: Path) -> dict[str, float]:
    """What `vmferry image convert` does with a VMDK; verify_s is how much of it was reading the copy back."""
    for name in ("", ".manifest.json", ".part", ".part.journal"):
        target.with_name(target.name + name).unlink(missing_ok=True)
    return _driver("file_driver", source, target)


def copy(lab: Lab, vm: str, transport: str, target: Path) -> dict[str, float]:
    """One disk of a VM through our adapters. `seconds` is the copy alone."""
    target.unlink(missing_ok=True)
    place = (f"{lab.host}:{lab.port}", lab.username, lab.password_file, lab.ca_file)
    return _driver("driver", *place, vm, transport, target)


def _driver(name: str, *words: str | Path) -> dict[str, float]:
    told: dict[str, float] = json.loads(tool(sys.executable, "-m", f"tests.bench.{name}", *words))
    return told
