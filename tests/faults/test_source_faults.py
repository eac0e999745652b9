"""What a vCenter and its network do to a move."""

from __future__ import annotations

import json

import pytest

from tests.faults.world import World
from tests.lab.specs import DiskSpec

SLOW = 3_000_000  # bytes a second: a disk of these tests then takes seconds


def test_a_move_without_faults(world: World) -> None:
    vm_id = world.add_vm()
    logged = world.service.log.stat().st_size  # the log is shared with tests that ran before
    job = world.finish(world.submit(vm_id)["id"])
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job["id"])
    assert set(world.attempts(job["id"]).values()) == {1}
    lines = [json.loads(line) for line in world.service.log.read_bytes()[logged:].splitlines() if line.startswith(b"{")]
    ours = [line for line in lines if "step" in line or "undo" in line or line["logger"] == "job"]
    assert {line.get("job_id") for line in ours} == {job["id"]}


def test_a_wrong_password_leaves_everything_as_it_was(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    source = next(s for s in world.api("GET", "sources")["items"] if s["name"] == world.source)
    credential = source["credential_id"]
    world.api("PUT", f"credentials/{credential}/password", json={"password": "not the password"})
    try:
        job = world.finish(world.submit(vm_id)["id"])
        checked = world.operate(f"sources/{world.source}/check")
    finally:
        world.api("PUT", f"credentials/{credential}/password", json={"password": world.lab.password})
    assert job["state"] == "failed"
    assert job["error"]["code"] == "source_denied"
    assert not job["error"]["retryable"]
    assert world.attempts(job["id"])["preflight"] == 1
    assert not checked["result"]["ok"]
    world.assert_untouched(vm_id, before, job["id"])


@pytest.mark.parametrize("tls", [{}, {"thumbprint": "00" * 32}])
def test_an_untrusted_certificate_is_refused_and_shown(world: World, tls: dict[str, str]) -> None:
    lab = world.lab
    name = f"untrusted-{len(tls)}"
    body = {"name": name, "host": f"{lab.host}:{lab.port}", "username": lab.username, "password": lab.password}
    world.api("POST", "sources", json=body | {"tls": tls})
    checked = world.operate(f"sources/{name}/check")
    world.api("DELETE", f"sources/{name}")
    rows = {row["name"]: row for row in checked["result"]["checks"]}
    assert not rows["certificate"]["ok"]
    assert lab.thumbprint in rows["certificate"]["detail"] + rows["certificate"]["remedy"]


def test_a_session_dropped_while_copying_is_renewed(world: World) -> None:
    vm_id = world.add_vm()
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = world.submit(vm_id)["id"]
    world.until_copying(job_id)
    assert world.lab.expire_sessions() > 0
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job_id)


def test_an_expired_lease_is_taken_anew(world: World) -> None:
    vm_id = world.add_vm()
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = world.submit(vm_id)["id"]
    world.until_copying(job_id)
    assert world.lab.expire_leases() == 1
    world.lab.clear()
    job = world.finish(job_id)
    assert job["state"] == "succeeded", job["error"]
    assert world.attempts(job_id)["transfer"] == 2
    world.assert_moved(vm_id, job_id)


@pytest.mark.parametrize("mode", ["length", "chunked", "close"])
def test_a_body_cut_in_the_middle_is_noticed_and_read_again(world: World, mode: str) -> None:
    vm_id = world.add_vm()
    world.lab.set_export_mode(mode)
    world.lab.http_fault("/nfc/", cut_percent=50)
    job = world.finish(world.submit(vm_id)["id"])
    assert job["state"] == "succeeded", job["error"]
    assert world.attempts(job["id"])["transfer"] == 2
    world.assert_moved(vm_id, job["id"])


def test_a_body_that_is_always_cut_fails_and_is_undone(world: World) -> None:
    vm_id = world.add_vm()
    before = world.look(vm_id)
    world.lab.set_export_mode("close")
    world.let_no_disk_be_read()
    job = world.finish(world.submit(vm_id)["id"])
    assert job["state"] == "failed"
    assert job["error"]["code"] == "transfer_interrupted"
    assert world.attempts(job["id"])["transfer"] == 3
    world.assert_untouched(vm_id, before, job["id"])


def test_a_way_that_fails_again_and_again_is_left_for_the_next(world: World) -> None:
    vm_id = world.add_vm()
    world.lab.http_fault("/nfc/", cut_percent=50, count=0)
    job = world.finish(world.submit(vm_id)["id"])
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job["id"])
    said = [event["message"] for event in world.events(job["id"]) if event["message"].startswith("transport ")]
    assert [text.split()[1].rstrip(":") for text in said] == ["nfc", "nfc", "https"]


def test_a_transport_by_name_leaves_no_choice(world: World) -> None:
    vm_id = world.add_vm()
    world.lab.http_fault("/nfc/", status=500, count=0)
    job = world.finish(world.submit(vm_id, transport="https")["id"])
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job["id"])
    other = world.add_vm()
    assert world.finish(world.submit(other, transport="nfc")["id"])["state"] == "failed"


def test_a_flipped_bit_on_the_wire_is_noticed(world: World) -> None:
    vm_id = world.add_vm(disks=[DiskSpec(size_mib=48, fill_mib=12, seed=77)])
    world.lab.http_fault("/nfc/", flip_at=3_000_000)
    job = world.finish(world.submit(vm_id)["id"])
    if job["state"] == "succeeded":
        world.assert_moved(vm_id, job["id"])  # compares every byte
        assert world.attempts(job["id"])["transfer"] == 2
    else:
        assert job["error"]["code"] == "unsafe_image", job["error"]
        assert world.volumes(job["id"]) == []


def test_a_vm_started_by_someone_while_it_is_copied(world: World) -> None:
    vm_id = world.add_vm()
    world.lab.http_fault("/nfc/", rate=SLOW, count=0)
    job_id = world.submit(vm_id)["id"]
    world.until_copying(job_id)
    world.lab.power_on(vm_id, force=True)
    job = world.finish(job_id)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "source_changed", job["error"]
    assert world.look(vm_id)["power_state"] == "poweredOn"
    assert world.look(vm_id)["annotation"].count("vmferry") == 0
    assert world.volumes(job_id) == []


def test_a_vm_that_was_off_stays_off_and_so_does_its_target(world: World) -> None:
    vm_id = world.add_vm(on=False)
    job = world.finish(world.submit(vm_id)["id"])
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job["id"])
    assert not world.domain(world.lab.vm(vm_id)["uuid"]).isActive()
    assert world.lab.calls().get("ShutdownGuest", 0) == 0
    assert world.lab.calls().get("PowerOffVM_Task", 0) == 0


def test_no_hard_power_off_unless_the_user_said_so(world: World) -> None:
    vm_id = world.add_vm(shutdown="hangs")
    before = world.look(vm_id)
    job = world.finish(world.submit(vm_id, shutdown_timeout_s=10)["id"])
    assert job["state"] == "failed"
    assert world.lab.calls().get("PowerOffVM_Task", 0) == 0
    world.assert_untouched(vm_id, before, job["id"])

    job = world.finish(world.submit(vm_id, shutdown_timeout_s=10, force_power_off=True)["id"])
    assert job["state"] == "succeeded", job["error"]
    assert world.lab.calls()["PowerOffVM_Task"] == 1
    world.assert_moved(vm_id, job["id"])


def test_a_missing_privilege_is_named(world: World) -> None:
    world.lab.deny("VApp.Export")
    checked = world.operate(f"sources/{world.source}/check")
    bad = [row for row in checked["result"]["checks"] if not row["ok"]]
    assert [row for row in bad if "VApp.Export" in row["name"] + row["detail"]], checked["result"]
