"""What users register, list and ask for, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.domain.errors import NoSpace
from app.domain.job import Pause
from app.domain.models import Check, DiskProgress, Leftover, PowerState
from app.domain.states import JobState
from app.store.rows import now
from tests.functional.api import GIB, PASSWORD, Service, facts, service, vm

RB = JobState.ROLLING_BACK


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as made:
        made.register()
        yield made


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    return body


# credentials, sources, targets


def test_a_source_is_registered_shown_and_removed(api: Service) -> None:
    body = {
        "name": "esx",
        "kind": "esxi",
        "host": "esx.example:8443",
        "username": "root",
        "password": PASSWORD,
        "tls": {"thumbprint": "AA:" * 19 + "AA"},
    }
    made = api.http.post("/v1/sources", json=body)
    assert made.status_code == 201
    shown = api.http.get(made.headers["location"]).json()
    assert shown == made.json()
    assert (shown["kind"], shown["host"], shown["username"]) == ("esxi", "esx.example:8443", "root")
    assert api.http.get("/v1/sources/esx").json()["id"] == shown["id"]
    assert api.http.delete("/v1/sources/esx").status_code == 204
    problem(api.http.get("/v1/sources/esx"), 404, "not_found")
    names = [item["name"] for item in api.http.get("/v1/credentials").json()["items"]]
    assert names == ["source lab"]  # the one made for it went with it


def test_a_source_of_files_needs_no_login(api: Service) -> None:
    made = api.http.post("/v1/sources", json={"name": "exports", "kind": "ova", "host": "/srv/exports"})
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["kind"], shown["host"], shown["username"]) == ("ova", "/srv/exports", "")
    assert shown["credential_id"] is None
    assert shown in api.http.get("/v1/sources").json()["items"]
    spec = api.store.jobs.source(shown["id"])
    assert (spec.host, spec.username, spec.password) == ("/srv/exports", "", "")
    web = {"name": "web", "kind": "ova", "host": "https://files.example/web.ova", "username": "u", "password": PASSWORD}
    assert api.store.jobs.source(api.http.post("/v1/sources", json=web).json()["id"]).password == PASSWORD
    for name in ("exports", "web"):
        assert api.http.delete(f"/v1/sources/{name}").status_code == 204
    assert [item["name"] for item in api.http.get("/v1/credentials").json()["items"]] == ["source lab"]


@pytest.mark.parametrize("kind", ["ova", "vmx"])
@pytest.mark.parametrize("host", ["exports", "/srv/../etc", "ftp://files.example/web.ova", "https://u:p@x/web.ova"])
def test_a_place_of_files_that_is_none_is_refused(api: Service, kind: str, host: str) -> None:
    answer = api.http.post("/v1/sources", json={"name": "files", "kind": kind, "host": host})
    body = problem(answer, 422, "invalid_request")
    assert body["errors"][0]["pointer"] == "/host"


def test_a_vm_of_a_package_is_judged_like_any_other(api: Service) -> None:
    """Off, without Tools, with what its source tells: a dry run over its stored inventory."""
    source = api.http.post("/v1/sources", json={"name": "exports", "kind": "ova", "host": "/srv/exports"}).json()["id"]
    told = {"code": "manifest_missing", "severity": "info", "cause": "there is no manifest", "remedy": "Make one."}
    packed = vm(9, id="ova-1-2", power_state="off", tools="not_installed", concerns=(told,))
    api.store.workers.save_inventory(source, "files-uuid", [packed])
    body = {"source": "exports", "vm": "guest9", "options": {"strategy": "disk_only"}}
    answer = api.http.post("/v1/jobs", json=body, params={"dry_run": True})
    assert answer.status_code == 200, answer.text
    assert {c["code"] for c in answer.json()["concerns"]} == {"manifest_missing", "boot_not_checked"}
    assert answer.json()["domain_xml"]


def test_no_answer_shows_a_password(api: Service) -> None:
    api.http.post("/v1/credentials", json={"name": "c", "username": "u", "password": PASSWORD})
    problem(
        api.http.post("/v1/credentials", json={"name": "c", "username": "u", "password": PASSWORD}), 409, "conflict"
    )
    for path in ("sources", "sources/lab", "credentials", "credentials/c", "targets", "events", "jobs"):
        answer = api.http.get(f"/v1/{path}")
        assert answer.status_code == 200
        assert PASSWORD not in answer.text


def test_a_shared_credential_is_used_changed_and_kept_while_in_use(api: Service) -> None:
    api.http.post("/v1/credentials", json={"name": "c", "username": "svc", "password": "old"})
    made = api.http.post("/v1/sources", json={"name": "b", "host": "vc2", "credential": "c"}).json()
    assert made["username"] == "svc"
    assert api.store.jobs.source(made["id"]).password == "old"
    assert api.http.put("/v1/credentials/c/password", json={"password": "new"}).status_code == 200
    assert api.store.jobs.source(made["id"]).password == "new"
    problem(api.http.delete("/v1/credentials/c"), 409, "conflict")
    api.http.delete("/v1/sources/b")
    assert api.http.delete("/v1/credentials/c").status_code == 204
    problem(api.http.post("/v1/sources", json={"name": "b", "host": "vc2", "credential": "c"}), 404, "not_found")


def test_names_are_unique(api: Service) -> None:
    body = problem(
        api.http.post("/v1/sources", json={"name": "lab", "host": "x", "username": "u", "password": "p"}),
        409,
        "conflict",
    )
    assert body["errors"][0]["pointer"] == "/name"
    problem(api.http.post("/v1/targets", json={"name": "here"}), 409, "conflict")


def test_a_target_says_how_its_images_are_made(api: Service) -> None:
    image = {"format": "raw", "preallocation": "falloc", "discard": False}
    made = api.http.post("/v1/targets", json={"name": "fast", "image": image, "networks": {"*": "default"}}).json()
    assert made["image"] == image | {"cluster_kib": 64, "compressed": False}
    assert api.http.get("/v1/targets/here").json()["image"]["format"] == "qcow2"
    assert api.store.jobs.target(made["id"]).image.to_dict() == made["image"]
    api.store.workers.save_target_facts(made["id"], facts(), [])
    body = {"source": "lab", "vm": "guest1", "target": "fast"}
    xml = api.http.post("/v1/jobs", params={"dry_run": True}, json=body).json()["domain_xml"]
    assert '<driver name="qemu" type="raw" />' in xml
    assert "-0.raw" in xml
    refused = api.http.post("/v1/targets", json={"name": "x", "image": {"format": "raw", "compressed": True}})
    assert problem(refused, 422, "invalid_request")["errors"][0]["pointer"] == "/image/compressed"
    refused = api.http.post("/v1/targets", json={"name": "x", "image": {"cluster_kib": 5}})
    assert problem(refused, 422, "invalid_request")["errors"][0]["pointer"] == "/image/cluster_kib"


def test_a_profile_and_devices_of_the_host_are_asked_for_with_a_job(api: Service) -> None:
    def dry(**options: Any) -> Any:
        body = {"source": "lab", "vm": "guest1", "target": "here", "options": options}
        return api.http.post("/v1/jobs", params={"dry_run": True}, json=body)

    assert 'freePageReporting="on"' in dry(profile="density").json()["domain_xml"]
    found = dry(profile="latency", hostdevs={"GPU": "none"}).json()["concerns"]
    assert {"profile_needs_check", "hostdev_unknown"} <= {concern["code"] for concern in found}
    assert problem(dry(profile="fast"), 422, "invalid_request")["errors"][0]["pointer"] == "/options/profile"


def test_a_remote_target_is_refused_with_its_reason(api: Service) -> None:
    body = problem(
        api.http.post("/v1/targets", json={"name": "far", "uri": "qemu+ssh://kvm1/system"}), 422, "target_is_remote"
    )
    assert "remote to every worker" in body["detail"]


def test_what_a_job_uses_cannot_be_removed(api: Service) -> None:
    job = api.submit()
    for path in ("sources/lab", "targets/here"):
        assert job in problem(api.http.delete(f"/v1/{path}"), 409, "conflict")["detail"]
    api.http.post(f"/v1/jobs/{job}/cancel")
    for path in ("sources/lab", "targets/here"):
        assert api.http.delete(f"/v1/{path}").status_code == 204
    assert api.http.get(f"/v1/jobs/{job}").json()["source"]["name"] == "lab"
    problem(api.http.post(f"/v1/jobs/{job}/rollback"), 404, "not_found")


# operations


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("sources/lab/check", "check_source"),
        ("sources/lab/refresh", "refresh_inventory"),
        ("targets/here/check", "check_target"),
    ],
)
def test_slow_work_is_an_operation_for_a_worker(api: Service, path: str, kind: str) -> None:
    asked = api.http.post(f"/v1/{path}")
    assert asked.status_code == 202
    place = asked.headers["location"]
    assert api.http.post(f"/v1/{path}").headers["location"] == place  # it waits already
    assert api.http.get(place, params={"wait": 0.1}).json()["state"] == "queued"
    claimed = api.store.workers.claim_operation("e")
    assert claimed is not None
    assert claimed.kind == kind
    api.store.workers.end_operation(claimed.id, result={"ok": True})
    done = api.http.get(place, params={"wait": 30}).json()
    assert (done["state"], done["result"]) == ("succeeded", {"ok": True})
    assert api.http.post(f"/v1/{path}").headers["location"] != place


def test_checks_are_shown_with_what_was_checked(api: Service) -> None:
    check = Check(name="login", ok=False, detail="wrong password", remedy="Enter it again.")
    api.store.workers.save_source_checks(api.source, "", [check])
    shown = api.http.get("/v1/sources/lab").json()
    assert shown["checks"] == [check.to_dict()]
    assert shown["checked_at"]
    assert api.http.get("/v1/targets/here").json()["facts"]["networks"] == ["default"]


def test_unknown_operations(api: Service) -> None:
    problem(api.http.get("/v1/operations/none"), 404, "not_found")
    problem(api.http.post("/v1/sources/none/check"), 404, "not_found")


# inventory


def test_the_inventory_is_filtered_and_paged(api: Service) -> None:
    first = api.http.get("/v1/inventory/vms", params={"limit": 2, "sort": "-name"}).json()
    assert [item["name"] for item in first["items"]] == ["guest5", "guest4"]
    second = api.http.get(
        "/v1/inventory/vms", params={"limit": 9, "sort": "-name", "cursor": first["next_cursor"]}
    ).json()
    assert [item["name"] for item in second["items"]] == ["guest3", "guest2", "guest1"]
    assert second["next_cursor"] is None
    for params, count in (
        ({"q": "GUEST"}, 5),
        ({"q": "t3"}, 1),
        ({"q": "%"}, 0),
        ({"name": "guest1"}, 1),
        ({"source": "lab"}, 5),
        ({"source": "other"}, 0),
    ):
        assert len(api.http.get("/v1/inventory/vms", params=params).json()["items"]) == count, params
    item = api.http.get("/v1/inventory/vms", params={"name": "guest1"}).json()["items"][0]
    assert item["source"] == {"id": api.source, "name": "lab"}
    assert item["disks"][0]["capacity_bytes"] == 2 * GIB


def test_vms_of_the_same_name_page_without_loss(api: Service) -> None:
    api.store.workers.save_inventory(api.source, "u", [vm(number, name="same") for number in range(7)])
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = api.http.get("/v1/inventory/vms", params={"limit": 2, "cursor": cursor}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == [f"vm-{number}" for number in range(7)]
    assert len(seen) == 7


# limits

NIGHT = {"start": "22:00", "end": "06:00", "bytes_per_second": 200_000_000}


@pytest.mark.parametrize("path", ["service", "sources/lab", "jobs/{job}"])
def test_a_limit_is_set_shown_replaced_and_cleared(api: Service, path: str) -> None:
    place = f"/v1/limits/{path.format(job=api.submit())}"
    problem(api.http.get(place), 404, "not_found")
    assert api.http.delete(place).status_code == 204
    body = {"bytes_per_second": 20_000_000, "windows": [NIGHT], "zone": "Europe/Berlin"}
    for _ in range(2):
        answer = api.http.put(place, json=body)
        assert answer.status_code == 200
    made = answer.json()
    assert {key: made[key] for key in body} == body
    assert made["rate_now"] in (20_000_000, 200_000_000)
    assert made["scope"] == path.partition("/")[0].removesuffix("s")
    assert api.http.get("/v1/limits").json()["items"] == [made]
    answer = api.http.put(place, json={"bytes_per_second": 5000})
    assert api.http.get(place).json() == answer.json()
    assert (answer.json()["windows"], answer.json()["rate_now"]) == ([], 5000)
    assert api.http.delete(place).status_code == 204
    assert api.http.get("/v1/limits").json()["items"] == []
    told = [event["message"] for event in api.http.get("/v1/events", params={"kind": "limit"}).json()["items"]]
    assert len(told) == 4
    assert "200 MB/s from 22:00 to 06:00 Europe/Berlin, otherwise 20 MB/s" in told[0]


def test_limits_name_what_they_are_for(api: Service) -> None:
    job = api.submit()
    for path in (f"jobs/{job}", "sources/lab", "service"):
        api.http.put(f"/v1/limits/{path}", json={"bytes_per_second": 1000})
    found = {item["scope"]: item for item in api.http.get("/v1/limits").json()["items"]}
    assert found["job"]["job"] == {"id": job, "name": "guest1"}
    assert found["source"]["source"] == {"id": api.source, "name": "lab"}
    assert (found["service"]["subject"], found["service"]["job"]) == ("", None)
    assert {limit.scope for limit in api.store.jobs.limits(job)} == {"job", "source", "service"}
    api.http.post(f"/v1/jobs/{job}/cancel")
    assert [item["scope"] for item in api.http.get("/v1/limits").json()["items"]] == ["source", "service"]
    api.http.delete("/v1/sources/lab")
    assert [item["scope"] for item in api.http.get("/v1/limits").json()["items"]] == ["service"]


@pytest.mark.parametrize("path", ["sources/none", "jobs/none"])
def test_limits_of_what_is_not_there(api: Service, path: str) -> None:
    for answer in (
        api.http.get(f"/v1/limits/{path}"),
        api.http.put(f"/v1/limits/{path}", json={"bytes_per_second": 1000}),
        api.http.delete(f"/v1/limits/{path}"),
    ):
        problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"bytes_per_second": 10}, "/bytes_per_second"),
        ({"bytes_per_second": 1000, "zone": "Europe/Atlantis"}, "/zone"),
        ({"windows": [NIGHT | {"end": "25:00"}]}, "/windows/0/end"),
        ({"windows": [NIGHT | {"end": "22:00"}]}, "/windows/0"),
    ],
)
def test_limits_that_are_none(api: Service, body: dict[str, Any], pointer: str) -> None:
    told = problem(api.http.put("/v1/limits/service", json=body), 422, "invalid_request")
    assert told["errors"][0]["pointer"] == pointer


def test_a_job_can_be_submitted_with_a_limit(api: Service) -> None:
    body = {"source": "lab", "vm": "guest1", "limit": {"bytes_per_second": 50_000_000}}
    made = api.http.post("/v1/jobs", json=body)
    assert made.status_code == 201
    assert api.http.get(f"/v1/limits/jobs/{made.json()['id']}").json()["rate_now"] == 50_000_000
    refused = api.http.post("/v1/jobs", json=body | {"vm": "guest2", "limit": {"bytes_per_second": 0}})
    assert problem(refused, 422, "invalid_request")["errors"][0]["pointer"] == "/limit/bytes_per_second"


# jobs


def test_keys_of_encrypted_disks_are_for_the_worker_only_and_until_the_end(api: Service) -> None:
    uuid, secret = "0f0e0d0c-0b0a-4909-8807-060504030201", "the passphrase ü of a disk"
    body = {"source": "lab", "vm": "guest1", "luks_keys": {"all": secret, "/dev/sdb1": "2", uuid: "3"}}
    answer = api.http.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job = answer.json()["id"]
    assert api.store.jobs.disk_keys(job) == body["luks_keys"]
    assert secret not in answer.text + api.http.get(f"/v1/jobs/{job}").text + api.http.get("/v1/events").text
    files = b"".join(path.read_bytes() for path in api.settings.home.iterdir() if path.is_file())
    assert b"disk_keys" in files
    assert secret.encode() not in files
    api.end(job, JobState.RUNNING, JobState.FAILED)
    assert api.store.jobs.disk_keys(job) == body["luks_keys"]  # a retry needs them
    api.http.post(f"/v1/jobs/{job}/rollback")
    api.end(job, JobState.ROLLED_BACK)
    assert api.store.jobs.disk_keys(job) == {}


@pytest.mark.parametrize(
    "keys", [{"sda1": "k"}, {"/dev/a:file:/etc/shadow": "k"}, {"all\n": "k"}, {"all": ""}, {"all": "two\nlines"}]
)
def test_keys_that_are_none(api: Service, keys: dict[str, str]) -> None:
    told = api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1", "luks_keys": keys})
    problem(told, 422, "invalid_request")
    assert "two" not in told.text


def test_a_job_is_submitted_and_shown(api: Service) -> None:
    answer = api.http.post("/v1/jobs", json={"source": api.source, "vm": "vm-2", "target": "here"})
    assert answer.status_code == 201
    job = api.http.get(answer.headers["location"]).json()
    assert job == answer.json()
    assert job["vm"] == {"id": "vm-2", "name": "guest2"}
    assert (job["state"], job["strategy"], job["phase"]) == ("queued", "cold", "")
    assert job["steps"][0]["name"] == "preflight"
    assert job["next_action"]
    assert job["links"]["cancel"] == f"/v1/jobs/{job['id']}/cancel"
    assert "retry" not in job["links"]


def test_a_dry_run_says_what_would_happen_and_does_nothing(api: Service) -> None:
    body = {"source": "lab", "vm": "guest1", "options": {"target_name": "taken"}}
    answer = api.http.post("/v1/jobs", params={"dry_run": True}, json=body)
    assert answer.status_code == 200
    planned = answer.json()
    assert [concern["code"] for concern in planned["concerns"]] == ["domain_exists"]
    assert planned["bytes_total"] == 2 * GIB
    assert planned["steps"][0] == "preflight"
    assert "<name>taken</name>" in planned["domain_xml"]
    assert "/pool/vmferry-" in planned["domain_xml"]
    assert api.http.get("/v1/jobs").json()["items"] == []
    assert api.store.events.last_id() == 0


def test_a_dry_run_needs_a_target_that_was_looked_at(api: Service) -> None:
    api.http.post("/v1/targets", json={"name": "new"})
    body = {"source": "lab", "vm": "guest1", "target": "new"}
    problem(api.http.post("/v1/jobs", params={"dry_run": True}, json=body), 409, "conflict")
    assert api.http.post("/v1/jobs", json=body).status_code == 201  # a worker will look


def test_a_dry_run_of_what_has_no_network_has_no_xml(api: Service) -> None:
    api.http.post("/v1/targets", json={"name": "bare"})
    bare = api.http.get("/v1/targets/bare").json()["id"]
    api.store.workers.save_target_facts(bare, facts(), [])
    body = {"source": "lab", "vm": "guest1", "target": "bare"}
    planned = api.http.post("/v1/jobs", params={"dry_run": True}, json=body).json()
    assert [concern["code"] for concern in planned["concerns"]] == ["network_not_mapped"]
    assert planned["domain_xml"] == ""


def test_blockers_known_already_are_answered_at_once(api: Service) -> None:
    api.store.workers.save_inventory(
        api.source, "u", [vm(1, power_state=PowerState.SUSPENDED), vm(2, name="../x", tools="not_running")]
    )
    body = problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1"}), 422, "preflight_failed")
    assert [concern["code"] for concern in body["concerns"] if concern["severity"] == "blocker"] == ["vm_is_suspended"]
    body = problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "../x"}), 422, "preflight_failed")
    assert {fault["pointer"] for fault in body["errors"]} == {"/options/target_name", "/options/force_power_off"}
    assert all(fault["hint"] for fault in body["errors"])
    assert api.http.get("/v1/jobs").json()["items"] == []


def test_room_that_another_job_will_take_is_not_given_twice(api: Service) -> None:
    disk = vm(1).disks[0].model_copy(update={"capacity_bytes": 48 * GIB})
    api.store.workers.save_inventory(api.source, "u", [vm(n, disks=(disk,)) for n in (1, 2)])
    first = api.submit("guest1")
    body = {"source": "lab", "vm": "guest2"}
    planned = api.http.post("/v1/jobs", params={"dry_run": True}, json=body).json()
    assert [concern["code"] for concern in planned["concerns"]] == ["pool_is_reserved"]
    refused = problem(api.http.post("/v1/jobs", json=body), 422, "preflight_failed")
    assert f"48.0 GiB are reserved by job {first} (guest1, 48.0 GiB)" in refused["detail"]
    assert refused["errors"][0]["pointer"] == "/target"
    api.http.post(f"/v1/jobs/{first}/cancel")
    assert api.submit("guest2")


def test_room_is_counted_in_the_pool_that_is_asked_for(api: Service) -> None:
    both = facts().pools[0], facts().pools[0].model_copy(update={"name": "ssd", "path": "/ssd"})
    api.store.workers.save_target_facts(api.target, facts(pools=both), [])
    disk = vm(1).disks[0].model_copy(update={"capacity_bytes": 48 * GIB})
    api.store.workers.save_inventory(api.source, "u", [vm(n, disks=(disk,)) for n in (1, 2, 3)])
    first = api.submit("guest1", pool="ssd")
    assert api.submit("guest2")
    body = {"source": "lab", "vm": "guest3", "options": {"pool": "ssd"}}
    refused = problem(api.http.post("/v1/jobs", json=body), 422, "preflight_failed")
    assert "the pool ssd on here has 50.0 GiB free" in refused["detail"]
    assert f"48.0 GiB are reserved by job {first} (guest1, 48.0 GiB)" in refused["detail"]


def test_a_pool_that_is_not_there_is_refused_whenever_it_was_looked_at(
    api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.jobs.FRESH", timedelta(0))
    body = {"source": "lab", "vm": "guest1", "options": {"pool": "nvme"}}
    refused = problem(api.http.post("/v1/jobs", json=body), 422, "preflight_failed")
    assert [fault["pointer"] for fault in refused["errors"]] == ["/options/pool"]
    assert "default" in refused["errors"][0]["hint"]


def test_a_dry_run_sees_the_pool_and_the_hardware_that_are_asked_for(api: Service) -> None:
    both = facts().pools[0], facts().pools[0].model_copy(update={"name": "ssd", "path": "/ssd"})
    api.store.workers.save_target_facts(api.target, facts(pools=both), [])
    options = {"pool": "ssd", "format": "raw", "cpus": 3, "memory_bytes": 512 << 20}
    body = {"source": "lab", "vm": "guest1", "options": options}
    planned = api.http.post("/v1/jobs", params={"dry_run": True}, json=body).json()
    assert planned["concerns"] == []
    xml = planned["domain_xml"]
    assert "/ssd/vmferry-dry-run-0.raw" in xml
    assert 'type="raw"' in xml
    assert ">3</vcpu>" in xml
    assert f"{512 << 10}</memory>" in xml


@pytest.mark.parametrize(
    "options",
    [
        {"pool": "a/b"},
        {"format": "vmdk"},
        {"cpus": 0},
        {"cpus": 4097},
        {"memory_bytes": 1},
        {"memory_bytes": -(1 << 20)},
    ],
)
def test_hardware_that_cannot_be_is_refused(api: Service, options: dict[str, Any]) -> None:
    body = {"source": "lab", "vm": "guest1", "options": options}
    [fault] = problem(api.http.post("/v1/jobs", json=body), 422, "invalid_request")["errors"]
    assert fault["pointer"].startswith(f"/options/{next(iter(options))}")


def test_what_was_seen_a_while_ago_refuses_nothing(api: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = vm(2, power_state=PowerState.SUSPENDED, name="a/b")
    api.store.workers.save_inventory(api.source, "u", [vm(1, power_state=PowerState.SUSPENDED), odd])
    problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1"}), 422, "preflight_failed")
    monkeypatch.setattr("app.services.jobs.FRESH", timedelta(0))
    problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "a/b"}), 422, "preflight_failed")
    assert api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1"}).status_code == 201


def test_names_that_fit_nothing_or_several(api: Service) -> None:
    api.store.workers.save_inventory(api.source, "u", [vm(1, name="twin"), vm(2, name="twin", folder="/b")])
    body = problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "twin"}), 409, "ambiguous_vm")
    assert [candidate["id"] for candidate in body["candidates"]] == ["vm-1", "vm-2"]
    assert api.http.post("/v1/jobs", json={"source": "lab", "vm": "vm-2"}).status_code == 201
    problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "none"}), 404, "vm_not_found")
    problem(api.http.post("/v1/jobs", json={"source": "none", "vm": "vm-1"}), 404, "not_found")
    problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "vm-1", "target": "none"}), 404, "not_found")
    api.http.post("/v1/targets", json={"name": "second"})
    problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "vm-1"}), 422, "invalid_request")


@pytest.mark.parametrize("options", [{"strategy": "warm"}, {"colour": 1}, {"shutdown_timeout_s": 1}, {"power_on": 7}])
def test_options_that_are_none(api: Service, options: dict[str, Any]) -> None:
    answer = api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1", "options": options})
    body = problem(answer, 422, "invalid_request")
    assert body["errors"][0]["pointer"].startswith(f"/options/{next(iter(options))}")


def test_one_active_job_per_vm(api: Service) -> None:
    job = api.submit()
    body = problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "vm-1"}), 409, "vm_has_job")
    assert body["job"] == job
    assert job in body["detail"]
    api.http.post("/v1/sources", json={"name": "twice", "host": "vc", "username": "u", "password": "p"})
    twice = api.http.get("/v1/sources/twice").json()["id"]
    api.store.workers.save_inventory(twice, "vcenter-uuid", [vm(1)])
    problem(api.http.post("/v1/jobs", json={"source": "twice", "vm": "vm-1"}), 409, "vm_has_job")


def test_a_repeated_submit_is_one_job(api: Service) -> None:
    call = {"json": {"source": "lab", "vm": "guest1"}, "headers": {"Idempotency-Key": "once"}}
    first, again = (api.http.post("/v1/jobs", **call) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(api.http.get("/v1/jobs").json()["items"]) == 1
    other = api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest2"}, headers={"Idempotency-Key": "once"})
    problem(other, 422, "idempotency_key_reused")
    problem(api.http.post("/v1/jobs", json={}, headers={"Idempotency-Key": "x" * 201}), 422, "invalid_request")


def test_a_refused_submit_can_be_repeated_with_its_key(api: Service) -> None:
    call = {"json": {"source": "lab", "vm": "new"}, "headers": {"Idempotency-Key": "k"}}
    problem(api.http.post("/v1/jobs", **call), 404, "vm_not_found")
    api.store.workers.save_inventory(api.source, "u", [vm(9, name="new")])
    assert api.http.post("/v1/jobs", **call).status_code == 201


def test_keys_of_two_tokens_do_not_meet(api: Service) -> None:
    other = api.http.post("/v1/tokens", json={"name": "b"}).json()["token"]
    key = {"Idempotency-Key": "k"}
    assert api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1"}, headers=key).status_code == 201
    answer = api.http.post(
        "/v1/jobs", json={"source": "lab", "vm": "guest2"}, headers=key | {"Authorization": f"Bearer {other}"}
    )
    assert answer.status_code == 201
    assert answer.json()["vm"]["name"] == "guest2"


def test_jobs_are_filtered_sorted_and_paged(api: Service) -> None:
    jobs = [api.submit(f"guest{number}") for number in (1, 2, 3)]
    api.http.post(f"/v1/jobs/{jobs[0]}/cancel")

    def listed(**params: Any) -> list[str]:
        return [item["id"] for item in api.http.get("/v1/jobs", params=params).json()["items"]]

    assert listed() == jobs[::-1]
    assert listed(sort="created_at") == jobs
    assert listed(sort="-vm") == jobs[::-1]
    assert listed(state="cancelled") == jobs[:1]
    assert sorted(listed(state=["queued", "cancelled"])) == sorted(jobs)
    assert listed(vm="guest2") == listed(vm="vm-2") == [jobs[1]]
    assert len(listed(source="lab")) == len(listed(target="here")) == 3
    assert listed(source="other") == []
    first = api.http.get("/v1/jobs", params={"limit": 2}).json()
    api.submit("guest4")  # comes before the first page and shifts nothing
    assert listed(limit=2, cursor=first["next_cursor"]) == jobs[:1]
    problem(api.http.get("/v1/jobs", params={"state": "dancing"}), 422, "invalid_request")
    wrong = api.http.get("/v1/jobs", params={"cursor": first["next_cursor"], "sort": "vm"})
    problem(wrong, 422, "invalid_request")


def test_disks_and_progress_are_shown(api: Service) -> None:
    job = api.submit()
    planned = api.http.get(f"/v1/jobs/{job}/disks").json()["items"]
    assert [(item["key"], item["capacity_bytes"], item["bytes_done"]) for item in planned] == [(2000, 2 * GIB, 0)]
    api.admit()
    disk = DiskProgress(key=2000, label="Hard disk 1", capacity_bytes=100, bytes_done=40, bytes_skipped=10)
    api.store.jobs.progress(job, [disk], 5.0, 10.0)
    assert api.http.get(f"/v1/jobs/{job}/disks").json()["items"] == [disk.to_dict() | {"links": {}}]
    progress = api.http.get(f"/v1/jobs/{job}").json()["progress"]
    assert (progress["bytes_done"], progress["bytes_total"], progress["rate"]) == (40, 100, 5.0)


def test_a_step_shows_its_seconds_and_its_error(api: Service) -> None:
    job = api.submit()
    api.admit()
    api.store.jobs.step_started(job, "preflight")
    error = NoSpace("the pool is full", "Make room.").to_dict()
    api.store.jobs.step_ended(job, "preflight", "failed", error=error)
    step = api.http.get(f"/v1/jobs/{job}").json()["steps"][0]
    assert step["seconds"] >= 0
    assert step["error"] == error


def test_waiting_for_a_change(api: Service) -> None:
    job = api.submit()
    assert api.http.get(f"/v1/jobs/{job}", params={"wait": 0.2}).json()["state"] == "queued"
    api.end(job, RB, JobState.FAILED)
    assert api.http.get(f"/v1/jobs/{job}", params={"wait": 30}).json()["state"] == "failed"
    problem(api.http.get("/v1/jobs/none", params={"wait": 5}), 404, "not_found")
    problem(api.http.get(f"/v1/jobs/{job}", params={"wait": 61}), 422, "invalid_request")


def test_cancelling(api: Service) -> None:
    waiting, running = api.submit("guest1"), api.submit("guest2")
    assert api.http.post(f"/v1/jobs/{waiting}/cancel").status_code == 200
    assert api.http.get(f"/v1/jobs/{waiting}").json()["state"] == "cancelled"
    api.admit()
    answer = api.http.post(f"/v1/jobs/{running}/cancel")
    assert answer.status_code == 202
    assert answer.json()["stop_requested"]
    assert "cancel" not in answer.json()["links"]
    api.store.jobs.transition(running, RB)
    problem(api.http.post(f"/v1/jobs/{running}/cancel"), 409, "conflict")


def test_pausing_and_resuming(api: Service) -> None:
    waiting, running = api.submit("guest1"), api.submit("guest2")
    answer = api.http.post(f"/v1/jobs/{waiting}/pause")
    assert (answer.status_code, answer.json()["state"]) == (200, "paused")
    assert api.admit() == [running]
    answer = api.http.post(f"/v1/jobs/{running}/pause")
    assert answer.status_code == 202
    asked = answer.json()
    assert (asked["state"], asked["pause"]["by"]) == ("running", "user")
    assert {"resume", "cancel"} <= asked["links"].keys()
    assert "pause" not in asked["links"]
    api.store.jobs.rest(running, "preflight")
    for job in (waiting, running):
        shown = api.http.get(f"/v1/jobs/{job}").json()
        assert (shown["state"], "resume it" in shown["next_action"]) == ("paused", True)
        assert api.http.get("/v1/jobs", params={"state": "paused", "vm": shown["vm"]["id"]}).json()["items"]
        answer = api.http.post(f"/v1/jobs/{job}/resume")
        assert (answer.status_code, answer.json()["state"], answer.json()["pause"]) == (202, "queued", None)
    kinds = [event["kind"] for event in api.http.get(f"/v1/jobs/{running}/events").json()["items"]]
    assert kinds == ["job.state", "job.state", "job.pause", "job.state", "job.state"]
    api.http.post(f"/v1/jobs/{waiting}/cancel")
    for verb in ("pause", "resume"):
        problem(api.http.post(f"/v1/jobs/{waiting}/{verb}"), 409, "conflict")


def test_a_paused_job_in_a_workers_hands_is_asked_to_stop(api: Service) -> None:
    job = api.submit()
    api.admit()
    api.http.post(f"/v1/jobs/{job}/pause")
    api.store.jobs.rest(job, "preflight")
    answer = api.http.post(f"/v1/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "paused")
    assert answer.json()["next_action"].startswith("Stopping")


def test_a_job_that_waits_for_room_says_so(api: Service) -> None:
    job = api.submit()
    api.admit()
    room = Pause(by="space", since=now(), detail="pool default needs up to 3.2 GiB more", path="/p", resume_at_bytes=1)
    api.store.jobs.rest(job, "transfer", room=room)
    shown = api.http.get(f"/v1/jobs/{job}").json()
    assert shown["state"] == "paused"
    assert "needs up to 3.2 GiB more. It goes on by itself" in shown["next_action"]
    event = api.http.get(f"/v1/jobs/{job}/events").json()["items"][-1]
    assert (event["level"], "3.2 GiB" in event["message"]) == ("warning", True)


def test_retrying(api: Service) -> None:
    job = api.submit()
    problem(api.http.post(f"/v1/jobs/{job}/retry"), 409, "conflict")
    api.end(job, RB, JobState.FAILED)
    shown = api.http.get(f"/v1/jobs/{job}").json()
    assert {"retry", "rollback"} <= shown["links"].keys()
    answer = api.http.post(f"/v1/jobs/{job}/retry")
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["run"]) == ("queued", 2)
    assert api.admit() == [job]


def test_a_held_job_says_retry_or_roll_back(api: Service) -> None:
    job = api.submit(on_failure="hold")
    api.end(job, JobState.FAILED)
    body = problem(api.http.post("/v1/jobs", json={"source": "lab", "vm": "guest1"}), 409, "vm_has_job")
    assert "retry" in body["hint"]
    assert "roll it back" in body["hint"]


def test_a_rollback_of_a_success_needs_to_be_confirmed(api: Service) -> None:
    job = api.submit()
    api.end(job, JobState.SUCCEEDED)
    for body in (None, {}, {"confirm_data_loss": False}):
        told = problem(api.http.post(f"/v1/jobs/{job}/rollback", json=body), 409, "confirmation_needed")
        assert "is lost" in told["detail"]
    assert api.http.get(f"/v1/jobs/{job}").json()["state"] == "succeeded"
    answer = api.http.post(f"/v1/jobs/{job}/rollback", json={"confirm_data_loss": True})
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["purpose"]) == ("rolling_back", "rollback")


def test_what_is_left_over_is_listed(api: Service) -> None:
    job = api.submit()
    api.end(job, RB)
    left = Leftover(what="volume v", cause="busy", command="virsh vol-delete v --pool default")
    api.store.jobs.transition(job, JobState.ROLLBACK_FAILED, leftovers=[left])
    shown = api.http.get(f"/v1/jobs/{job}").json()
    assert shown["leftovers"] == [left.to_dict()]
    assert api.http.post(f"/v1/jobs/{job}/rollback").status_code == 202


def test_pictures_and_manifests_come_from_the_job_folder_only(api: Service, tmp_path: Path) -> None:
    job = api.submit()
    folder = api.settings.job_folder(job)
    folder.mkdir(parents=True)
    (folder / "console-boot.png").write_bytes(b"\x89PNG picture")
    (folder / "disk-0.manifest.json").write_text('{"version": 1}')
    (folder / "disk-1.manifest.json").write_text("of a disk that the VM has not")
    (folder / "secret.txt").write_text("secret")
    (folder / "console-link.png").symlink_to(api.settings.secret_key_file)
    links = api.http.get(f"/v1/jobs/{job}").json()["links"]
    assert links["console"] == [f"/v1/jobs/{job}/console/boot.png"]
    (disk,) = api.http.get(links["disks"]).json()["items"]
    assert disk["links"] == {"manifest": f"/v1/jobs/{job}/disks/2000/manifest"}
    picture = api.http.get(links["console"][0])
    assert (picture.headers["content-type"], picture.content) == ("image/png", b"\x89PNG picture")
    manifest = api.http.get(disk["links"]["manifest"])
    assert manifest.json() == {"version": 1}
    assert f"vmferry-{job}-disk-2000.manifest.json" in manifest.headers["content-disposition"]
    for path in (
        "console/other.png",
        "console/link.png",
        "console/..%2F..%2Fsecret.png",
        "console/%2E%2E.png",
        "disks/2001/manifest",
        "disks/..%2Fsecret.txt/manifest",
    ):
        assert api.http.get(f"/v1/jobs/{job}/{path}").status_code == 404, path
    for key in ("0.manifest.json", "x"):
        problem(api.http.get(f"/v1/jobs/{job}/disks/{key}/manifest"), 422, "invalid_request")
    assert api.http.get("/v1/jobs/..%2F../console/boot.png").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/disks"),
        ("GET", "/events"),
        ("GET", "/console/boot.png"),
        ("GET", "/disks/2000/manifest"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/rollback"),
    ],
)
def test_unknown_jobs(api: Service, method: str, path: str) -> None:
    problem(api.http.request(method, f"/v1/jobs/none{path}"), 404, "not_found")
