"""What a guest does to its boot check: moved for real, unconverted, with a boot sector for a system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest

from tests.boot_sector import speaking
from tests.faults.world import World
from tests.lab import DiskSpec

pytestmark = pytest.mark.timeout(900)
MIB = 1 << 20


def submit(world: World, folder: Path, said: bytes | None, **options: Any) -> tuple[str, dict[str, Any], str]:
    """(VM, how it is, job) of a guest that says this when it boots; None: it has nothing to boot from."""
    disk = folder / "system.raw"
    disk.write_bytes((speaking(said) if said is not None else b"").ljust(MIB, b"\0"))
    vm_id = world.add_vm(disks=[DiskSpec(source=disk)], hostname="web01")
    before = world.look(vm_id)
    return vm_id, before, str(world.submit(vm_id, strategy="cold", converter="compat", **options)["id"])


def move(world: World, folder: Path, said: bytes | None, **options: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The same, with the job as it ended."""
    vm_id, before, job_id = submit(world, folder, said, **options)
    return vm_id, before, world.finish(job_id, 600)


def reached(job: dict[str, Any]) -> list[str]:
    return [rung["name"] for rung in (job["boot"] or {"rungs": []})["rungs"] if rung["state"] == "reached"]


def picture(world: World, job: dict[str, Any], rung: str) -> bytes:
    return (world.service.home / "jobs" / job["id"] / f"console-{rung}.png").read_bytes()


def networks(world: World, uuid: str, flags: int) -> list[str | None]:
    xml = ElementTree.fromstring(world.domain(uuid).XMLDesc(flags))
    return [source.get("network") for source in xml.iterfind("devices/interface/source")]


def test_a_guest_that_never_boots(world: World, tmp_path: Path) -> None:
    vm_id, before, job = move(world, tmp_path, None, boot_timeout_s=20)
    error = job["error"]
    assert (job["state"], error["code"]) == ("failed", "boot_failed")
    assert "did not get to firmware: it was not seen to be up within 20 s" in error["message"]
    assert (error["rung"], error["last_rung"]) == ("firmware", "running")
    assert "console-firmware.png" in error["hint"]
    assert picture(world, job, "firmware").startswith(b"\x89PNG")
    states = {rung["name"]: rung["state"] for rung in job["boot"]["rungs"]}
    assert states == dict.fromkeys(states, "not_seen") | {
        "defined": "reached", "running": "reached", "firmware": "failed",
    }  # fmt: skip
    world.assert_untouched(vm_id, before, job["id"])


def test_a_guest_that_panics(world: World, tmp_path: Path) -> None:
    said = b"Linux version 6.1\r\nKernel panic - not syncing: no init found"
    vm_id, before, job = move(world, tmp_path, said)
    assert (job["state"], job["error"]["code"]) == ("failed", "boot_failed")
    assert "did not get to userland: it says: Kernel panic - not syncing: no init" in job["error"]["message"]
    assert "the last rung that it reached is kernel" in job["error"]["message"]
    assert picture(world, job, "userland").startswith(b"\x89PNG")
    world.assert_untouched(vm_id, before, job["id"])


def test_a_cancel_while_it_boots(world: World, tmp_path: Path) -> None:
    vm_id, before, job_id = submit(world, tmp_path, b"Linux version 6.1")
    world.until_phase(job_id, "boot_check", 300)
    world.until(job_id, lambda job: "kernel" in reached(job))
    world.api("POST", f"jobs/{job_id}/cancel")
    assert world.finish(job_id)["state"] == "cancelled"
    world.assert_untouched(vm_id, before, job_id)


def test_a_guest_that_is_not_as_it_was_runs_and_is_warned_about(world: World, tmp_path: Path) -> None:
    report = b"VMFERRY-REPORT " + json.dumps({"hostname": "localhost"}).encode()
    vm_id, _, job = move(world, tmp_path, report)
    assert job["state"] == "succeeded", job["error"]
    assert job["boot"]["contract"]["verdict"] == "changed"
    (concern,) = (concern for concern in job["concerns"] if concern["code"] == "contract_changed")
    assert concern["severity"] == "warning"
    assert "hostname: -web01, +localhost" in concern["cause"]
    uuid = world.lab.vm(vm_id)["uuid"]
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        assert networks(world, uuid, flags) == [world.host.network]
    shown = world.service.run("job", "show", job["id"], env={"COLUMNS": "200"}).stdout
    assert "console-seen.png" in shown
    assert "-web01, +localhost" in shown
