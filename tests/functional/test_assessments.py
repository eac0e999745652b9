"""An inventory, judged VM by VM before anything moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.domain.job import Job
from app.domain.lifecycle import pending_steps
from app.domain.models import PowerState
from app.domain.move import MoveOptions
from app.services.assessments import BYTES_A_SECOND, REST_S, Pace, pace_of
from app.store.rows import now
from tests.contract.source_platforms import lab_spec
from tests.functional.api import GIB, Service, facts, service, vm
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.sources import open_source

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
    assert (items[0]["strategy"], items[0]["transport"], items[0]["pace"]["moves"]) == ("cold", "https", 0)
    assert items[0]["seconds"] == pytest.approx(items[0]["disk_bytes"] / BYTES_A_SECOND + REST_S)
    assert items[0]["disk_bytes"] >= GIB


def test_it_is_filtered_and_paged(api: Service) -> None:
    page = api.http.get(PATH, params={"source": "lab", "limit": 2}).json()
    assert [item["vm"]["name"] for item in page["items"]] == ["guest1", "guest2"]
    rest = api.http.get(PATH, params={"source": "lab", "limit": 9, "cursor": page["next_cursor"]}).json()
    assert [item["vm"]["name"] for item in rest["items"]] == ["guest3", "guest4", "guest5"]
    assert len(api.http.get(PATH, params={"source": "lab", "name": "guest4"}).json()["items"]) == 1


def test_a_verdict_or_a_concern_may_be_asked_for(api: Service) -> None:
    vms = [vm(n, **({"power_state": PowerState.SUSPENDED} if n % 10 == 3 else {})) for n in range(100)]
    api.store.workers.save_inventory(api.source, "u", vms)
    for asked in ({"verdict": "blocked"}, {"concern": "vm_is_suspended"}):
        names, cursor = [], ""
        while cursor is not None:
            page = api.http.get(PATH, params={"source": "lab", "limit": 4, "cursor": cursor, **asked}).json()
            names.append([item["vm"]["name"] for item in page["items"]])
            cursor = page["next_cursor"]
        assert names == [
            ["guest13", "guest23", "guest3", "guest33"],
            ["guest43", "guest53", "guest63", "guest73"],
            ["guest83", "guest93"],
        ]
    assert api.http.get(PATH, params={"source": "lab", "verdict": "ready", "concern": "vm_is_suspended"}).json() == {
        "items": [],
        "next_cursor": None,
    }
    assert api.http.get(PATH, params={"source": "lab", "verdict": "fine"}).status_code == 422


def test_the_hardware_is_shown_whatever_is_in_the_way(api: Service) -> None:
    fields = {"firmware": "efi", "secure_boot": True, "tpm": True, "cpus": 4, "guest_id": "windows2019srv_64Guest"}
    api.store.workers.save_inventory(api.source, "u", [vm(1, **fields), vm(2, disks=(), nics=())])
    api.store.workers.save_target_facts(api.target, facts(tpm=True), [])
    api.http.post("/v1/targets", json={"name": "unmapped"})
    api.store.workers.save_target_facts(api.store.targets.get("unmapped").id, facts(), [])
    hardware = api.http.get(PATH, params={"source": "lab", "target": "here", "name": "guest1"}).json()["items"][0]
    assert hardware["hardware"] == {
        "machine": "q35",
        "firmware": "efi",
        "secure_boot": True,
        "tpm": True,
        "cpus": 4,
        "memory_bytes": GIB,
        "disks": 1,
        "disk_bus": "virtio",
        "nics": 1,
        "nic_model": "virtio",
        "networks": ["default"],
    }
    items = api.http.get(PATH, params={"source": "lab", "target": "unmapped"}).json()["items"]
    assert [item["hardware"]["networks"] for item in items] == [[""], []]
    assert [item["hardware"]["disk_bus"] for item in items] == ["virtio", ""]


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
    assert pace.moves == 3
    assert pace_of([]) == Pace(bytes_a_second=BYTES_A_SECOND, rest_s=REST_S, moves=0)


def test_more_vms_cost_no_more_calls(api: Service, tmp_path: Path) -> None:
    """Neither of the vCenter, beyond its pages of 200 objects, nor of the database."""
    with Lab(tmp_path / "lab") as lab:
        spent = []
        for more in (5, 100, 120):
            for _ in range(more):
                lab.add(VmSpec("web", [DiskSpec(size_mib=1)], on=False))
            spent.append((*_read(api, lab), *_assess(api)))
    pages = {"RetrievePropertiesEx": 1, "CreateContainerView": 1, "DestroyView": 1}
    assert [calls for calls, *_ in spent] == [pages, pages, {**pages, "ContinueRetrievePropertiesEx": 1}]
    assert [assessed for _, assessed, _ in spent] == [5, 105, 225]
    assert len({statements for *_, statements in spent}) == 1


def _read(api: Service, lab: Lab) -> tuple[dict[str, int]]:
    """The calls that reading the inventory takes, but for those of the login."""
    source = open_source(lab_spec(lab))
    try:
        source.identity()
        source.inventory()
        lab.clear()
        api.store.workers.save_inventory(api.source, "u", source.inventory())
        return (lab.calls(),)
    finally:
        source.close()


def _assess(api: Service) -> tuple[int, int]:
    """How many VMs a page has, and how many statements that takes."""
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        items = api.http.get(PATH, params={"source": "lab", "limit": 500}).json()["items"]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
    return len(items), len(statements)
