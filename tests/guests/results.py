"""What came of each guest: docs/guests.json, and the page that is made of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.guests.table import render
from tests.lab.cache import cache_directory, locked
from tests.lab.guest import recipe_digest
from tests.lab.recipes import RECIPES, Recipe
from tests.service import ROOT

KEPT = ROOT / "docs" / "guests.json"
TABLE = ROOT / "docs" / "guests.md"
GOOD = "as it was"
MOVES = {recipe.name: recipe for recipe in RECIPES} | {
    f"{recipe.name} by {recipe.also}": replace(recipe, converter=recipe.also) for recipe in RECIPES if recipe.also
}
CHANGES_GUESTS = (
    "app/domain/conversion.py",
    "app/domain/hardware/*.py",
    "app/domain/libvirt_xml/*.py",
    "workers/steps/convert.py",
    "workers/steps/define.py",
    "converters/*.py",
)
DISK_FORMATS = (
    *("claims", "direct_file", "folder", "grain_map", "image_*", "images", "nbd_*", "ovf*", "package_*", "qcow2*"),
    *("qemu_nbd", "range_cursor", "tar_index", "vmdk*", "vmware_text", "vmx*"),
)


def is_good(move: str) -> bool:
    """Whether the code that is here has done this move, and its very guest arrived as it was."""
    found = _read().get(move, {})
    return bool(found.get("verdict") == GOOD and found.get("key") == key(MOVES[move]))


def keep(move: str, result: dict[str, Any]) -> None:
    """Another run may do so at the same time."""
    with locked(cache_directory() / "guests.lock"):
        known = {**_read(), move: result}
        known = {each: known[each] for each in MOVES if each in known}
        KEPT.write_text(json.dumps(known, indent=1) + "\n")
        TABLE.write_text(render([(each, MOVES[each].what, known[each]) for each in known]))


def key(recipe: Recipe) -> str:
    """A hash of the guest and of all code that changes it."""
    digest = hashlib.sha256(recipe_digest(recipe).encode())
    for path in code():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def code() -> list[Path]:
    paths = {path for pattern in CHANGES_GUESTS for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if not any(path.match(f"converters/{name}.py") for name in DISK_FORMATS))


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return found
