"""A user's pause: in a copy, between steps, over the death of a worker; and what a paused job leaves to the others."""

from __future__ import annotations

import time

import pytest

from tests.faults.world import ENDED, World

SLOW = 3_000_000


def copying(world: World) -> tuple[str, str]:
    """A job in the middle of a slow copy; VM id and job id."""
    vm_id = world.add_vm()
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = str(world.submit(vm_id)["id"])
    world.until_copying(job_id)
    return vm_id, job_id


def paused(world: World, job_id: str) -> None:
    """Pause it; it rests soon."""
    world.api("POST", f"jobs/{job_id}/pause")
    asked = time.monotonic()
    job = world.until(job_id, lambda job: job["state"] == "paused" or job["state"] in ENDED)
    assert job["state"] == "paused", job
    assert time.monotonic() - asked < 10  # a step asks twice a second; the rest is a busy machine


def resumed(world: World, job_id: str) -> None:
    world.lab.clear()
    world.api("POST", f"jobs/{job_id}/resume")
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]


def test_a_pause_while_copying_undoes_nothing(world: World) -> None:
    vm_id, job_id = copying(world)
    paused(world, job_id)
    job = world.job(job_id)
    assert (job["phase"], job["pause"]["by"]) == ("transfer", "user")
    assert world.look(vm_id)["power_state"] == "poweredOff"
    assert world.look(vm_id)["open_leases"] == 0
    assert world.volumes(job_id)
    asked = world.lab.calls().get("nfc", 0)
    time.sleep(3)
    assert world.lab.calls().get("nfc", 0) == asked
    world.submit(vm_id, expect=409)
    resumed(world, job_id)
    world.assert_moved(vm_id, job_id)
    assert {step: count for step, count in world.attempts(job_id).items() if count != 1} == {"transfer": 2}


def test_kill_9_while_paused(world: World) -> None:
    vm_id, job_id = copying(world)
    paused(world, job_id)
    world.kill_worker()
    time.sleep(3)
    assert world.job(job_id)["state"] == "paused"
    assert world.attempts(job_id)["transfer"] == 1
    resumed(world, job_id)
    world.assert_moved(vm_id, job_id)


def test_a_stop_of_the_service_while_paused(world: World) -> None:
    vm_id, job_id = copying(world)
    paused(world, job_id)
    assert world.service.stop() == 0
    world.service.start()
    assert world.job(job_id)["state"] == "paused"
    resumed(world, job_id)
    world.assert_moved(vm_id, job_id)


@pytest.mark.parametrize("killed", [False, True])
def test_a_paused_job_can_be_cancelled(world: World, killed: bool) -> None:
    vm_id, job_id = copying(world)
    before = {**world.look(vm_id), "power_state": "poweredOn", "open_leases": 0}
    paused(world, job_id)
    if killed:
        world.kill_worker()
    world.api("POST", f"jobs/{job_id}/cancel")
    world.lab.clear()
    assert world.finish(job_id)["state"] == "cancelled"
    world.assert_untouched(vm_id, before, job_id)


def test_paused_jobs_leave_the_slots_to_others(world: World) -> None:
    """As many as there are slots are paused, and the next one is moved."""
    resting = []
    for _ in range(2):  # VMFERRY_MAX_JOBS
        resting.append(copying(world))
        paused(world, resting[-1][1])
    world.lab.clear()
    vm_id = world.add_vm()
    job_id = str(world.submit(vm_id)["id"])
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    for vm_id, job_id in resting:
        resumed(world, job_id)
        world.assert_moved(vm_id, job_id)
