"""The thing itself: one real guest leaves a vCenter, comes up on libvirt with who it was, and can be given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.contract import differences
from tests.lab import Guest
from tests.lab.proof import prove
from tests.system.demo import MoveResult, register, run_move, stage


@pytest.mark.timeout(3000)
def test_a_real_guest_is_moved_and_given_back(tmp_path: Path) -> None:
    with stage(tmp_path) as at:
        register(at)
        before = at.lab.vm(at.vm_id)
        result = run_move(at)
        _came_up_as_it_was(at.guest, result)
        job = result.job
        assert [step["state"] for step in job["steps"]] == ["succeeded"] * 8
        assert job["boot"]["kind"] in ("agent", "serial", "address")
        assert job["guest"]["nic_names"] == {at.guest.mac: at.guest.nic}
        moved, skipped = job["progress"]["bytes_done"], job["progress"]["bytes_skipped"]
        assert moved + skipped == sum(disk["capacity"] for disk in before["disks"])
        assert 200 << 20 < moved < skipped

        at.service.run("job", "rollback", job["id"], "--yes", "--wait")
        after = at.lab.vm(at.vm_id)
        for key in ("power_state", "annotation", "snapshots", "open_leases"):
            assert after[key] == before[key], key
        assert at.host.domains() == []
        assert list(at.host.pool_path.iterdir()) == []


def _came_up_as_it_was(guest: Guest, result: MoveResult) -> None:
    wrong = [what for what, right in result.checks.items() if not right]
    if wrong:
        pytest.fail(f"{wrong}: {result.report}")
    assert differences(prove(guest).report, result.report) == []
