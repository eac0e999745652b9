"""Every guest of the lab, moved and booted: `make guests`.

It goes on where it stopped: what was moved by the same code is not moved again. Writes docs/guests.md.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.guests.contract import differences
from tests.guests.table import render
from tests.lab.cache import cache_directory
from tests.lab.guest import build_guest, recipe_digest
from tests.lab.proof import prove
from tests.lab.recipes import RECIPES, Recipe
from tests.service import ROOT
from tests.system.demo import register, run_move, stage

TABLE = ROOT / "docs" / "guests.md"
CODE = ("app", "converters", "workers")


def main(names: list[str]) -> int:
    """All guests, or those that are named. 1 when one did not arrive as it was."""
    results = []
    for recipe in RECIPES:
        kept = cache_directory() / f"moved-{recipe.name}-{_digest(recipe)[:16]}.json"
        if not kept.exists() and (not names or recipe.name in names):
            print(f"{recipe.name}: {recipe.what} …", flush=True)
            kept.write_text(json.dumps(_move(recipe), indent=1))
        if kept.exists():
            result = json.loads(kept.read_text())
            print(f"{recipe.name}: {result['verdict']}", flush=True)
            results.append((recipe, result))
    TABLE.write_text(render(results))
    return 0 if all(result["verdict"] == "as it was" for _, result in results) else 1


def _move(recipe: Recipe) -> dict[str, Any]:
    """What came of one move. A move that fails is a result, too."""
    before = prove(build_guest(recipe)).report
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), recipe) as at:
        register(at)
        try:
            result = run_move(at, *(("--converter", recipe.converter) if recipe.converter else ()))
        except (RuntimeError, TimeoutError) as error:
            return {"verdict": f"failed: {error}"[:2000], "date": datetime.now(UTC).date().isoformat()}
        job = result.job
        seconds = {step["name"]: step["seconds"] for step in job["steps"]}
        return {
            "verdict": "; ".join(differences(before, result.report, converted=recipe.converter != "compat"))
            or "as it was",
            "date": datetime.now(UTC).date().isoformat(),
            "converter": job["guest"]["converter"],
            "reason": job["guest"]["reason"],
            "convert_s": seconds["convert"],
            "boot": job["boot"],
            "concerns": [concern["code"] for concern in job["guest"]["concerns"]],
        }


def _digest(recipe: Recipe) -> str:
    """Of the guest and of all code that moves it."""
    files = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    digest = hashlib.sha256(recipe_digest(recipe).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"guests: {error}: {(error.stderr or b'')[-2000:]}")
