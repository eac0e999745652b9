"""What a libvirt host does to a move, and what hold, retry and rollback make of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import World
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


def test_a_pool_that_fills_up_while_copying(world: World, small_folder: Path) -> None:
    vm_id = world.add_vm(fill_mib=40)
    before = world.look(vm_id)
    with LibvirtHost(small_folder) as host:
        body = {"name": "small", "uri": host.uri, "pool": host.pool, "networks": {"*": host.network}}
        world.api("POST", "targets", json=body)
        small = World(world.lab, host, world.service, target="small")
        small.operate("targets/small/check")
        job = small.finish(small.submit(vm_id)["id"])
        assert job["state"] == "failed"
        assert job["error"]["code"] == "no_space", job["error"]
        small.assert_untouched(vm_id, before, job["id"])
        assert small.attempts(job["id"])["transfer"] == 1


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
    world.lab.http_fault("/nfc/", status=500, count=0)
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
    world.lab.http_fault("/nfc/", status=500, count=0)
    job_id = world.submit(vm_id)["id"]
    assert world.finish(job_id)["state"] == "failed"
    assert world.look(vm_id)["power_state"] == "poweredOn"
    world.lab.clear()
    world.api("POST", f"jobs/{job_id}/retry")
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job_id)
