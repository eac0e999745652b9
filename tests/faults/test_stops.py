"""Cancel, kill -9 and a stop of the service, in every step of a move that needs no conversion."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

from tests.faults.world import World

STEPS = ["preflight", "shutdown", "transfer", "verify_copy", "define", "finalise"]
SLOW = 3_000_000


def slowed_until(world: World, step: str, **options: object) -> tuple[str, str]:
    """A job that is in `step`, on a vCenter so slow that it stays there for seconds; VM id and job id."""
    vm_id = world.add_vm()
    world.lab.http_fault("/sdk", delay_ms=400, count=0)
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = str(world.submit(vm_id, **options)["id"])
    world.until_phase(job_id, step)
    return vm_id, job_id


@pytest.mark.parametrize("step", STEPS)
def test_a_cancel_undoes_everything(world: World, step: str) -> None:
    vm_id, job_id = slowed_until(world, step)
    before = {**world.look(vm_id), "power_state": "poweredOn", "open_leases": 0}
    world.api("POST", f"jobs/{job_id}/cancel")
    time.sleep(1)  # a step asks twice a second
    world.lab.clear()
    job = world.finish(job_id)
    assert job["state"] == "cancelled", job
    world.assert_untouched(vm_id, before, job_id)


@pytest.mark.parametrize("step", STEPS)
def test_after_kill_9_the_job_goes_on_where_it_was(world: World, step: str) -> None:
    calls = Counter(world.lab.calls())
    vm_id, job_id = slowed_until(world, step)
    world.kill_worker()
    world.lab.clear()
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job_id)
    attempts = world.attempts(job_id)
    assert {name for name, count in attempts.items() if count != 1} <= {step}
    assert attempts[step] <= 2
    assert Counter(world.lab.calls())["ShutdownGuest"] - calls["ShutdownGuest"] <= 1
    powered_on = [event for event in world.events(job_id) if "undo" in event["kind"]]
    assert powered_on == []


def test_a_stop_of_the_service_undoes_nothing(world: World) -> None:
    vm_id, job_id = slowed_until(world, "transfer")
    world.until_copying(job_id)
    assert world.service.stop() == 0
    assert world.look(vm_id)["power_state"] == "poweredOff"
    world.lab.clear()
    world.service.start()
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job_id)


def test_kill_9_of_the_whole_service_takes_its_worker_with_it(world: World) -> None:
    vm_id, job_id = slowed_until(world, "transfer")
    worker = world.worker_pid()
    world.service.stop(signal.SIGKILL)
    world.lab.clear()
    world.service.start()
    assert world.worker_pid() != worker
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job_id)


def test_kill_9_while_rolling_back(world: World) -> None:
    vm_id, job_id = slowed_until(world, "define")
    before = {**world.look(vm_id), "power_state": "poweredOn"}
    world.api("POST", f"jobs/{job_id}/cancel")
    world.until(job_id, lambda job: job["state"] == "rolling_back")
    world.kill_worker()
    world.lab.clear()
    assert world.finish(job_id)["state"] == "cancelled"
    world.assert_untouched(vm_id, before, job_id)
