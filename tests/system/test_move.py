"""The thing itself: one real guest leaves a vCenter, comes up on libvirt with who it was, and can be given back."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest

from app.domain.boot import LIMITS
from tests.guests.contract import differences
from tests.lab import Guest
from tests.lab.proof import prove
from tests.system.demo import MoveResult, Stage, register, run_move, stage


@pytest.mark.timeout(3000)
def test_a_real_guest_is_moved_and_given_back(tmp_path: Path) -> None:
    with stage(tmp_path) as at:
        register(at)
        before = at.lab.vm(at.vm_id)
        result = run_move(at)
        _came_up_as_it_was(at.guest, result)
        job = result.job
        assert [step["state"] for step in job["steps"]] == ["succeeded"] * 8
        _climbed_the_whole_ladder(at, job)
        _kept_the_contract(job)
        _is_on_its_network(at, result)
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


def _climbed_the_whole_ladder(at: Stage, job: dict[str, Any]) -> None:
    boot = job["boot"]
    assert boot["kind"] in ("agent", "serial", "address")
    states = {rung["name"]: rung["state"] for rung in boot["rungs"]}
    assert states == dict.fromkeys(LIMITS, "reached") | {"port": "skipped"}
    seconds = [rung["seconds"] for rung in boot["rungs"] if rung["state"] == "reached"]
    assert seconds == sorted(seconds)
    folder = at.service.home / "jobs" / job["id"]
    for rung in boot["rungs"][:-1]:
        if rung["name"] != "defined":  # it does not run yet
            assert (folder / rung["picture"]).read_bytes().startswith(b"\x89PNG"), rung
    assert json.loads((folder / "boot.json").read_text()) == boot


def _kept_the_contract(job: dict[str, Any]) -> None:
    """Every field was read on both sides, and is as it was; VMware's tools went."""
    contract = job["boot"]["contract"]
    found = {finding["field"]: finding["verdict"] for finding in contract["findings"]}
    assert found == dict.fromkeys(found, "same") | {"services": "expected"}, contract
    assert contract["verdict"] == "same"
    assert "contract_changed" not in [concern["code"] for concern in job["concerns"]]


def _is_on_its_network(at: Stage, result: MoveResult) -> None:
    domain = at.host.connection.lookupByName(result.domain)
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        source = ElementTree.fromstring(domain.XMLDesc(flags)).find("devices/interface/source")
        assert source is not None
        assert source.get("network") == at.host.network
    with pytest.raises(ConnectionRefusedError):  # the guest's own refusal: the host reaches it there
        socket.create_connection((at.guest.address, 22), timeout=30)


def _came_up_as_it_was(guest: Guest, result: MoveResult) -> None:
    wrong = [what for what, right in result.checks.items() if not right]
    if wrong:
        pytest.fail(f"{wrong}: {result.report}")
    assert differences(prove(guest).report, result.report) == []
