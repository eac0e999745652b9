"""Faults in the steps that need a real guest: convert and boot_check. They share one conversion and its boot.

The guest is the one of the matrix that has the least in common with those of tests/system.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.world import World
from tests.guests.contract import differences
from tests.lab import Guest, Lab, build_guest
from tests.lab.proof import prove
from tests.lab.recipes import RECIPES
from tests.libvirt_host import LibvirtHost
from tests.service import Service
from tests.system.demo import REPORT_TIMEOUT_S, serial_log, wait_for_report

pytestmark = pytest.mark.timeout(3000)  # conversions and boots without KVM, on a busy machine
BOOT_S = 900
# A virt-v2v-in-place of our own making: does nothing and says that all is well, or fails as the real one does.
FAKES = {
    "nothing": "exit 0",
    "fails": "echo 'virt-v2v-in-place: error: inspection could not detect the source guest' >&2; exit 1",
}


@dataclass
class Converted:
    """A guest that was moved, what it says of itself, and the disks that it has on the target."""

    guest: Guest
    job: dict[str, Any]
    report: dict[str, Any]
    disks: list[Path]


@pytest.fixture(scope="module")
def guest() -> Guest:
    return build_guest()


@pytest.fixture(scope="module")
def real_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("guest-faults")
    with Lab(folder / "lab") as lab, LibvirtHost() as host, Service(folder / "home") as service:
        world = World(lab, host, service)
        world.register()
        yield world
        world.clean()


def world_with_fake(world: World, folder: Path, script: str) -> Iterator[World]:
    """The same lab and host, and a service whose virt-v2v-in-place is a script."""
    tools = folder / "bin"
    tools.mkdir()
    fake = tools / "virt-v2v-in-place"
    version = '[ "$1" = --version ] && { echo "virt-v2v-in-place 2.2.0"; exit 0; }'
    fake.write_text(f"#!/bin/sh\n{version}\n{script}\n")
    fake.chmod(0o755)
    with Service(folder / "home", PATH=f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}") as service:
        faked = World(world.lab, world.host, service)
        faked.register()
        yield faked


@pytest.fixture(scope="module")
def converted(real_world: World) -> Converted:
    """One real move, whose worker is killed in convert and again in boot_check; what its guest then says of itself."""
    world = real_world
    guest = build_guest(next(recipe for recipe in RECIPES if recipe.name == "debian13"))
    vm_id = world.lab.add(guest.vm("vmferry-killed"))
    world.refresh()
    job_id = world.submit(vm_id, strategy="cold", boot_timeout_s=BOOT_S)["id"]
    world.until_phase(job_id, "convert", 300)
    time.sleep(20)
    world.kill_worker()
    world.until_phase(job_id, "boot_check", 900)
    time.sleep(5)
    world.kill_worker()
    job = world.finish(job_id, BOOT_S + 60)
    assert job["state"] == "succeeded", job["error"]
    attempts = world.attempts(job_id)
    assert attempts.pop("convert") == 2
    assert attempts.pop("boot_check") == 2
    assert set(attempts.values()) == {1}
    vm = world.lab.vm(vm_id)
    assert vm["power_state"] == "poweredOff"
    assert vm["annotation"].count(job_id) == 1
    assert world.volumes(job_id) == [f"vmferry-{job_id}-0.qcow2", f"vmferry-{job_id}-1.qcow2"]
    assert world.lab.calls()["ShutdownGuest"] == 1

    report = wait_for_report(serial_log(world.host, "vmferry-killed"), REPORT_TIMEOUT_S)
    world.domain(vm["uuid"]).destroy()
    return Converted(guest, job, report, [world.host.pool_path / name for name in world.volumes(job_id)])


def test_after_kill_9_in_convert_and_in_boot_check_the_guest_comes_up(converted: Converted) -> None:
    for disk in converted.disks:
        checked = subprocess.run(["qemu-img", "check", "-f", "qcow2", str(disk)], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
    assert converted.report["checksums"] == converted.guest.markers


def test_the_guest_is_as_it_was(converted: Converted) -> None:
    assert differences(prove(converted.guest).report, converted.report) == []
    assert converted.job["guest"]["converter"] == "native"
    assert "UEFI" in converted.job["guest"]["reason"]
    assert converted.job["guest"]["nic_names"] == {converted.guest.mac: converted.guest.nic}


def test_a_cancel_while_converting(real_world: World, guest: Guest) -> None:
    world = real_world
    vm_id = world.lab.add(guest.vm("vmferry-cancelled"))
    world.refresh()
    before = world.look(vm_id)
    job_id = world.submit(vm_id, strategy="cold")["id"]
    world.until_phase(job_id, "convert", 300)
    time.sleep(5)
    world.api("POST", f"jobs/{job_id}/cancel")
    assert world.finish(job_id)["state"] == "cancelled"
    world.assert_untouched(vm_id, before, job_id)
    left = subprocess.run(["pgrep", "-af", job_id], capture_output=True, text=True, check=False).stdout
    assert left == "", left


def test_a_converter_that_fails(real_world: World, tmp_path: Path) -> None:
    for world in world_with_fake(real_world, tmp_path, FAKES["fails"]):
        vm_id = world.add_vm()
        before = world.look(vm_id)
        job = world.finish(world.submit(vm_id, strategy="cold")["id"])
        assert job["state"] == "failed"
        assert job["error"]["code"] in ("unsupported_guest", "conversion_failed")
        assert "could not detect" in job["error"]["message"] + job["error"].get("stderr_tail", "")
        assert job["error"]["hint"]
        assert world.attempts(job["id"])["convert"] == 1
        world.assert_untouched(vm_id, before, job["id"])


def test_a_converter_that_does_nothing(real_world: World, guest: Guest, tmp_path: Path) -> None:
    for world in world_with_fake(real_world, tmp_path, FAKES["nothing"]):
        vm_id = world.lab.add(guest.vm("vmferry-unconverted"))
        world.refresh()
        before = world.look(vm_id)
        job = world.finish(world.submit(vm_id, strategy="cold")["id"], 600)
        assert job["state"] == "failed"
        assert job["error"]["code"] == "conversion_failed", job["error"]
        said = r"the conversion succeeded, but initrd\S+ has no .*virtio_blk"
        assert re.search(said, job["error"]["message"]), job["error"]
        world.assert_untouched(vm_id, before, job["id"])
