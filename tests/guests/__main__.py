"""Every guest of the lab, moved and booted: `make guests`.

It goes on where it stopped: a guest that the same code has moved well is not moved again. What came of each is kept in
docs/guests.json, and docs/guests.md is made of that.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.guests import results, sealed
from tests.guests.contract import differences
from tests.lab.guest import Guest, build_guest
from tests.lab.guest_tree import LUKS_KEY
from tests.lab.proof import prove
from tests.lab.recipes import Recipe
from tests.service import ROOT
from tests.system.demo import migrate, register, run_move, stage

FAILURES = (AssertionError, OSError, RuntimeError, ValueError, subprocess.SubprocessError)  # of the lab and of a move


def main(names: list[str]) -> int:
    """All moves, or those that are named. 1 when one's guest did not arrive as it was."""
    wanted = [move for move in results.MOVES if not names or move in names]
    for move in wanted:
        if not results.is_good(move):
            recipe = results.MOVES[move]
            print(f"{move}: {recipe.what} …", flush=True)
            result = {"key": results.key(recipe)} | _result(recipe)
            print(f"{move}: {result['verdict']}", flush=True)
            results.keep(move, result)
    return 0 if all(results.is_good(move) for move in wanted) else 1


def _result(recipe: Recipe) -> dict[str, Any]:
    """What came of one guest. One that fails is a result, too, and not the end of the others."""
    told = {"version": _version(), "date": datetime.now(UTC).date().isoformat()}
    try:
        return _move(recipe) | told
    except FAILURES as error:
        traceback.print_exc()
        return {"verdict": f"failed: {error}"[:1000]} | told


def _move(recipe: Recipe) -> dict[str, Any]:
    guest = build_guest(recipe)
    if recipe.luks == "root":
        return _convert(guest)
    before = prove(guest).report
    options = [] if recipe.tools else ["--power-on"]
    if recipe.converter:
        options += ["--converter", recipe.converter]
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), recipe) as at:
        register(at)
        result = run_move(at, *options)
    return _row(result.job, differences(before, result.report, converted=recipe.converter != "compat"))


def _convert(guest: Guest) -> dict[str, Any]:
    """Move one whose root is encrypted, and look at its disks: nobody would type its passphrase."""
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), guest.recipe) as at:
        key = Path(folder, "key")
        key.write_text(LUKS_KEY)
        register(at)
        job = migrate(at, "--no-power-on", "--luks-key", f"all={key}")
        (domain,) = at.host.domains()
        sources = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk[@device='disk']/source")
        after = sealed.look([Path(source.get("file", "")) for source in sources], "qcow2")
    return _row(job, sealed.differences(sealed.look(guest.disks, "raw"), after))


def _row(job: dict[str, Any], different: list[str]) -> dict[str, Any]:
    return {
        "verdict": "; ".join(different) or results.GOOD,
        "converter": job["guest"]["converter"],
        "reason": job["guest"]["reason"],
        "convert_s": next(step["seconds"] for step in job["steps"] if step["name"] == "convert"),
        "boot": job["boot"],
        "concerns": [concern["code"] for concern in job["guest"]["concerns"]],
    }


def _version() -> str:
    """Of the code that moves it, as git names it. The results of this run are no change of it."""
    results_of_ours = [f":!{path.relative_to(ROOT)}" for path in (results.KEPT, results.TABLE)]
    dirty = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *results_of_ours)
    return _git("rev-parse", "--short=7", "HEAD") + ("-dirty" if dirty else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
