"""What a libvirt host does to a move, and what hold, retry and rollback make of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import ENDED, World
from tests.libvirt_host import LibvirtHost

SLOW = 3_000_000


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB that QEMU's user can enter."""
    folder = Path("/var/lib/libvirt/images") / f"vmferry-small-{tmp_path.name}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0711", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def define_by_another(world: World, name: str) -> None:
    """Someone else's domain of that name, without disks."""
    world.host.connection.defineXML(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"
    )


def remove_by_another(world: World, name: str) -> None:
    world.host.connection.lookupByName(name).undefine()


@pytest.fixture
def small(world: World, small_folder: Path) -> Iterator[World]:
    """The same lab and service, and a target whose pool is too small."""
    with LibvirtHost(small_folder) as host:
        body = {"name": "small", "uri": host.uri, "pool": host.pool, "networks": {"*": host.network}}
        world.api("POST", "targets", json=body)
        made = World(world.lab, host, world.service, target="small")
        made.operate("targets/small/check")
        yield made
        made.clean()
    world.api("DELETE", "targets/small")


def until_full(small: World, vm_id: str) -> str:
    """A job that waits for room in the small pool."""
    job_id = str(small.submit(vm_id)["id"])
    job = small.until(job_id, lambda job: job["state"] == "paused" or job["state"] in ENDED)
    assert job["state"] == "paused", job["error"]
    assert job["pause"]["by"] == "space"
    assert small.host.pool in job["next_action"]
    assert "goes on by itself" in job["next_action"]
    transfer = next(step for step in job["steps"] if step["name"] == "transfer")
    assert (transfer["state"], transfer["error"]["code"]) == ("paused", "no_space")
    assert job["error"] is None
    assert small.look(vm_id)["power_state"] == "poweredOff"
    return job_id


def test_a_pool_that_fills_up_while_copying_is_waited_for(small: World, small_folder: Path) -> None:
    vm_id = small.add_vm(fill_mib=40)
    job_id = until_full(small, vm_id)
    small.kill_worker()
    time.sleep(3)
    assert small.job(job_id)["state"] == "paused"
    assert small.attempts(job_id)["transfer"] == 1
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_folder)], check=True)
    job = small.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    assert small.attempts(job_id)["transfer"] == 2
    small.assert_moved(vm_id, job_id)


def test_a_job_that_waits_for_room_can_be_cancelled(small: World) -> None:
    vm_id = small.add_vm(fill_mib=40)
    before = small.look(vm_id)
    job_id = until_full(small, vm_id)
    small.api("POST", f"jobs/{job_id}/cancel")
    assert small.finish(job_id)["state"] == "cancelled"
    small.assert_untouched(vm_id, before, job_id)


def test_a_domain_of_that_name_is_there_already(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    name = world.lab.vm(vm_id)["name"]
    define_by_another(world, name)
    try:
        job = world.finish(world.submit(vm_id)["id"])
        assert job["state"] == "failed"
        assert job["error"]["code"] == "preflight_failed"
        assert name in job["error"]["message"]
        world.assert_untouched(vm_id, before, job["id"])
        assert world.lab.calls().get("ShutdownGuest", 0) == 0
        job = world.finish(world.submit(vm_id, target_name=f"{name}-moved")["id"])
        assert job["state"] == "succeeded", job["error"]
    finally:
        remove_by_another(world, name)


def test_a_domain_of_that_name_appears_meanwhile(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    name = world.lab.vm(vm_id)["name"]
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = world.submit(vm_id)["id"]
    world.until_copying(job_id)
    define_by_another(world, name)
    try:
        job = world.finish(job_id)
        assert job["state"] == "failed"
        assert job["error"]["code"] == "domain_exists"
        world.assert_untouched(vm_id, before, job_id)
        assert world.host.connection.lookupByName(name) is not None
    finally:
        remove_by_another(world, name)


def held(world: World, vm_id: str) -> str:
    """A job that failed at define and was held: its copy is verified, the source is off."""
    name = world.lab.vm(vm_id)["name"]
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = str(world.submit(vm_id, on_failure="hold")["id"])
    world.until_copying(job_id)
    world.lab.clear()
    define_by_another(world, name)
    job = world.finish(job_id)
    remove_by_another(world, name)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "domain_exists"
    assert world.look(vm_id)["power_state"] == "poweredOff"
    assert len(world.volumes(job_id)) == 2
    return job_id


def test_hold_keeps_the_copy_and_retry_does_not_copy_again(world: World) -> None:
    vm_id = world.add_vm()
    job_id = held(world, vm_id)
    world.submit(vm_id, expect=409)
    copies = world.lab.calls().get("nfc", 0)
    world.api("POST", f"jobs/{job_id}/retry")
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    assert world.lab.calls().get("nfc", 0) == copies
    world.assert_moved(vm_id, job_id)


def test_hold_copies_again_when_the_source_ran_meanwhile(world: World) -> None:
    vm_id = world.add_vm()
    job_id = held(world, vm_id)
    world.lab.power_on(vm_id)
    with Path(world.lab.vm(vm_id)["disks"][0]["path"]).open("r+b") as disk:
        disk.write(b"written while it ran")
    copies = world.lab.calls().get("nfc", 0)
    world.api("POST", f"jobs/{job_id}/retry")
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    assert world.lab.calls()["nfc"] == copies + 2
    world.assert_moved(vm_id, job_id)


def test_a_held_job_can_be_rolled_back(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    job_id = held(world, vm_id)
    world.api("POST", f"jobs/{job_id}/rollback")
    assert world.finish(job_id)["state"] == "rolled_back"
    world.assert_untouched(vm_id, before, job_id)


def test_a_rollback_after_success_asks_first_and_then_gives_all_back(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    job_id = world.submit(vm_id)["id"]
    assert world.finish(job_id)["state"] == "succeeded"
    world.domain(world.lab.vm(vm_id)["uuid"]).create()
    world.api("POST", f"jobs/{job_id}/rollback", expect=409)
    assert world.look(vm_id)["power_state"] == "poweredOff"
    world.api("POST", f"jobs/{job_id}/rollback", json={"confirm_data_loss": True})
    job = world.finish(job_id)
    assert job["state"] == "rolled_back", job
    world.assert_untouched(vm_id, before, job_id)
    again = world.finish(world.submit(vm_id)["id"])
    assert again["state"] == "succeeded", again["error"]


def test_what_could_not_be_undone_is_listed_with_its_command(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    world.let_no_disk_be_read()
    world.lab.fault("PowerOnVM_Task", "InsufficientResourcesFault", count=0, task=True)
    job_id = world.submit(vm_id)["id"]
    job = world.finish(job_id)
    assert job["state"] == "rollback_failed"
    assert vm_id in job["leftovers"][0]["command"]
    assert world.volumes(job_id) == []
    world.lab.clear()
    world.api("POST", f"jobs/{job_id}/rollback")
    assert world.finish(job_id)["state"] == "rolled_back"
    world.assert_untouched(vm_id, before, job_id)


def test_a_failed_job_that_was_undone_starts_anew(world: World) -> None:
    vm_id = world.add_vm()
    world.let_no_disk_be_read()
    job_id = world.submit(vm_id)["id"]
    assert world.finish(job_id)["state"] == "failed"
    assert world.look(vm_id)["power_state"] == "poweredOn"
    world.lab.clear()
    world.api("POST", f"jobs/{job_id}/retry")
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job_id)
