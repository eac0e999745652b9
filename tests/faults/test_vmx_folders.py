"""A VM in a folder of VMware's moves with its snapshots and its split disk, and one that is in use does not move."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.test_vmdk_disk import chain, make_raw, vmdk_of
from tests.faults.world import World
from tests.vmx_folders import lock, write_vmx

MIB = 1 << 20


class Machine:
    """A VM folder, registered as a source: a disk with three snapshots, and one split into files of 2 GiB."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.source = f"machines-{os.getpid()}"
        self.name = f"vmferry-folder-{os.getpid()}"
        raw = folder.parent / "raw"
        make_raw(raw, 40 * MIB)
        os.truncate(raw, 2100 * MIB)
        folder.mkdir()
        self.disks = [chain(folder, "monolithicSparse", 50 * MIB), vmdk_of(raw, folder, "twoGbMaxExtentSparse")]
        raw.unlink()
        nodes = {f"scsi0:{unit}": disk.name for unit, disk in enumerate(self.disks)}
        self.vmx = write_vmx(folder / "vm.vmx", self.name, nodes)
        world.api("POST", "sources", json={"name": self.source, "kind": "vmx", "host": str(folder)})

    def submit(self, *, expect: int | None = None, **options: Any) -> dict[str, Any]:
        refreshed = self.world.operate(f"sources/{self.source}/refresh")
        assert refreshed["state"] == "succeeded", refreshed
        asked = {"strategy": "disk_only"} | options
        body = {"source": self.source, "vm": self.name, "target": self.world.target, "options": asked}
        return dict(self.world.api("POST", "jobs", expect=expect, json=body))

    def files(self) -> dict[str, tuple[str, int]]:
        """Name → hash and time of the last change."""
        return {
            path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in self.folder.iterdir()
        }

    def assert_moved(self, job: dict[str, Any]) -> None:
        """One domain, and a volume for each disk that is what qemu-img reads from the folder."""
        assert job["state"] == "succeeded", job["error"]
        assert self.world.domain(job["domain_uuid"]).name() == self.name
        for index, disk in enumerate(self.disks):
            path = self.world.host.pool_path / f"vmferry-{job['id']}-{index}.qcow2"
            argv = ["qemu-img", "compare", "-f", "vmdk", "-F", "qcow2", str(disk), str(path)]
            subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def machine(world: World, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(world, tmp_path / "vm")
    yield made
    world.clean()
    world.api("DELETE", f"sources/{made.source}")


def test_a_folder_moves_and_stays_as_it_was(world: World, machine: Machine) -> None:
    before = machine.files()
    checked = world.operate(f"sources/{machine.source}/check")
    assert checked["result"]["ok"], checked
    job = world.finish(machine.submit()["id"])
    machine.assert_moved(job)
    assert machine.files() == before
    steps = {step["name"]: step["detail"] for step in job["steps"]}
    assert steps["shutdown"] == "it was off"
    assert "keeps no note" in steps["finalise"]

    world.api("POST", f"jobs/{job['id']}/rollback", json={"confirm_data_loss": True})
    job = world.until(job["id"], lambda seen: seen["state"] not in ("succeeded", "rolling_back"))
    assert job["state"] == "rolled_back", job["error"]
    assert machine.files() == before


def test_a_killed_worker_goes_on_with_a_folder(world: World, machine: Machine) -> None:
    job_id = machine.submit()["id"]
    world.until_phase(job_id, "transfer")
    world.kill_worker()
    machine.assert_moved(world.finish(job_id))


def test_a_vm_that_is_in_use_is_not_touched(world: World, machine: Machine) -> None:
    lock(machine.vmx)
    world.operate(f"targets/{world.target}/check")  # what was seen just now may refuse a job at once
    for force in (False, True):
        problem = machine.submit(expect=422, force_power_off=force)
        assert "vm_is_in_use" in {concern["code"] for concern in problem["concerns"]}
    checked = world.operate(f"sources/{machine.source}/check")
    assert checked["result"]["ok"], checked
