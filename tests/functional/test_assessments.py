"""An inventory, judged VM by VM before anything moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.job import Job
from app.domain.lifecycle import pending_steps
from app.domain.models import MoveOptions, PowerState
from app.services.assessments import BYTES_A_SECOND, REST_S, pace_of
from app.store.rows import now
from tests.functional.api import GIB, Service, service, vm

PATH = "/v1/inventory/assessments"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as api:
        api.register()
        yield api


def test_each_vm_has_a_verdict_and_says_why(api: Service) -> None:
    vms = [
        vm(1),
        vm(2, guest_id="otherLinux64Guest"),
        vm(3, power_state=PowerState.SUSPENDED),
        vm(4, guest_id="freebsd13_64Guest"),
        vm(5, firmware="efi"),
    ]
    api.store.workers.save_inventory(api.source, "u", vms)
    items = api.http.get(PATH, params={"source": "lab"}).json()["items"]
    assert [(item["verdict"], item["converter"]) for item in items] == [
        ("ready", "virt-v2v"),
        ("with_warnings", "virt-v2v"),
        ("blocked", "virt-v2v"),
        ("blocked", None),
        ("ready", "native"),
    ]
    assert [concern["code"] for concern in items[3]["concerns"]] == ["guest_needs_compat"]
    assert "UEFI" in items[4]["reason"]
    assert items[0]["hardware"]["disk_bus"] == "virtio"
    assert items[0]["seconds"] == pytest.approx(items[0]["disk_bytes"] / BYTES_A_SECOND + REST_S)
    assert items[0]["disk_bytes"] >= GIB


def test_it_is_filtered_and_paged(api: Service) -> None:
    page = api.http.get(PATH, params={"source": "lab", "limit": 2}).json()
    assert [item["vm"]["name"] for item in page["items"]] == ["guest1", "guest2"]
    rest = api.http.get(PATH, params={"source": "lab", "limit": 9, "cursor": page["next_cursor"]}).json()
    assert [item["vm"]["name"] for item in rest["items"]] == ["guest3", "guest4", "guest5"]
    assert len(api.http.get(PATH, params={"source": "lab", "name": "guest4"}).json()["items"]) == 1


def test_what_it_needs_is_said(api: Service) -> None:
    assert api.http.get(PATH).status_code == 422
    assert api.http.get(PATH, params={"source": "nowhere"}).status_code == 404
    api.http.post("/v1/targets", json={"name": "new", "networks": {"*": "default"}})
    assert api.http.get(PATH, params={"source": "lab"}).status_code == 422
    unseen = api.http.get(PATH, params={"source": "lab", "target": "new"})
    assert (unseen.status_code, "check" in unseen.json()["hint"]) == (409, True)


def test_a_thousand_are_judged(api: Service) -> None:
    api.store.workers.save_inventory(api.source, "u", [vm(number) for number in range(1000)])
    cursor: str | None = ""
    seen = 0
    while cursor is not None:
        page = api.http.get(PATH, params={"source": "lab", "limit": 500, "cursor": cursor}).json()
        seen, cursor = seen + len(page["items"]), page["next_cursor"]
    assert seen == 1000


def test_the_estimate_is_made_from_what_was_moved() -> None:
    def moved(transfer: float, convert: float) -> Job:
        job = Job(
            id="j", vm_id="v", vm_name="v", source_id="s", source_name="s", target_id="t", target_name="t",
            options=MoveOptions(), vm=vm(1), created_at=now(),
        )  # fmt: skip
        spent = {"transfer": transfer, "convert": convert}
        steps = [
            step.model_copy(update={"started_at": now(), "ended_at": now() + timedelta(seconds=spent[step.name])})
            if step.name in spent
            else step
            for step in pending_steps(job)
        ]
        return job.model_copy(update={"steps": tuple(steps)})

    size = vm(1).disk_bytes
    pace = pace_of([moved(10, 100), moved(20, 200), moved(40, 50)])
    assert pace.bytes_a_second == pytest.approx(size / 20, rel=0.01)
    assert pace.rest_s == pytest.approx(100, rel=0.01)
    assert pace_of([]) == (BYTES_A_SECOND, REST_S)
