"""A guest of the matrix that has little in common with the one of test_move: moved, and nobody can tell.

A third one is moved by tests/faults/test_guest_faults.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.contract import differences
from tests.lab.guest import build_guest
from tests.lab.proof import prove
from tests.lab.recipes import RECIPES
from tests.system.demo import register, run_move, stage


@pytest.mark.timeout(3000)
def test_a_guest_arrives_as_it_was(tmp_path: Path) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == "debian11")
    before = prove(build_guest(recipe)).report
    with stage(tmp_path, recipe) as at:
        register(at)
        result = run_move(at)
        assert at.lab.vm(at.vm_id)["power_state"] == "poweredOff"
    assert differences(before, result.report) == []
    assert result.job["guest"]["converter"].split()[0] == "virt-v2v"
    assert result.job["guest"]["nic_names"] == {at.guest.mac: at.guest.nic}
    assert result.job["boot"]["kind"] in ("agent", "serial", "address")
