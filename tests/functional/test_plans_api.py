"""Plans over HTTP: imported, put, changed, exported, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.api.routes.plans import XLSX
from app.domain.job import Job
from app.domain.move import MoveOptions
from app.domain.plan_run import Change
from app.domain.states import JobState
from app.store.rows import new_id, now
from tests.functional.api import Service, service, vm

SHEET = "include,wave,VM name,source,target,pool\nyes,1,guest1,lab,here,\nyes,2,guest2,lab,here,default\n"
WRONG = "include,wave,VM name,source,target,pool\nyes,1,guest1,lab,here,defaults\nyes,2,geust2,lab,here,\n"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as api:
        api.register()
        yield api


def send(api: Service, sheet: str, plan: str = "june", accept: str = "*/*", **params: Any) -> Any:
    query = {"filename": "plan.csv", **({"plan": plan} if plan else {}), **params}
    return api.http.post("/v1/imports", content=sheet.encode(), params=query, headers={"Accept": accept})


def document(*names: str, **more: Any) -> dict[str, Any]:
    return {"items": [{"vm_name": name, **more} for name in names]}


def test_a_sheet_becomes_a_plan(api: Service) -> None:
    answer = send(api, SHEET)
    assert answer.status_code == 201, answer.text
    report = answer.json()
    assert (report["plan"], report["kind"], report["rows"], report["version"]) == ("june", "plan", 2, 1)
    assert [item["change"] for item in report["differences"]] == ["added", "added"]
    assert report["pools"] == [
        {"target": "here", "pool": "default", "needed_bytes": 4 << 30, "free_bytes": 50 << 30, "fits": True}
    ]
    assert [(wave["name"], wave["vms"], wave["fits"]) for wave in report["waves"]] == [("1", 1, True), ("2", 1, True)]
    plan = api.http.get(answer.headers["Location"])
    assert plan.json()["name"] == "june"
    assert plan.headers["ETag"] == answer.headers["ETag"] == '"1"'
    assert api.http.get("/v1/plans/june").json()["counts"] == {"waiting": 2}
    assert [item["name"] for item in api.http.get("/v1/plans").json()["items"]] == ["june"]


def test_a_check_stores_nothing_and_tells_all_problems(api: Service) -> None:
    answer = send(api, WRONG, plan="", dry_run=True)
    assert answer.status_code == 200
    problems = answer.json()["problems"]
    assert [(problem["place"], problem["code"]) for problem in problems] == [
        ("plan.csv!F2", "pool_unknown"),
        ("plan.csv!C3", "vm_not_found"),
    ]
    assert problems[0]["fix"] == 'Did you mean "default"?'
    assert answer.json()["version"] == 0
    assert api.http.get("/v1/plans").json()["items"] == []


def test_errors_refuse_an_import_by_their_cells(api: Service) -> None:
    answer = send(api, WRONG)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_plan"
    assert [fault["cell"] for fault in answer.json()["errors"]] == ["plan.csv!F2", "plan.csv!C3"]
    assert answer.json()["errors"][1]["hint"] == 'Did you mean "guest2"?'
    assert "pointer" not in answer.json()["errors"][0]


def test_an_annotated_workbook_comes_back(api: Service) -> None:
    answer = send(api, WRONG, dry_run=True, accept=XLSX)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, XLSX)
    assert answer.content[:2] == b"PK"


def test_a_plan_that_is_there_is_changed_only_when_asked(api: Service) -> None:
    send(api, SHEET)
    again = send(api, SHEET)
    assert (again.status_code, again.json()["code"]) == (409, "plan_exists")
    same = send(api, SHEET, update=True)
    assert (same.status_code, same.json()["version"]) == (200, 1)
    assert {item["change"] for item in same.json()["differences"]} == {"unchanged"}
    other = send(api, SHEET.replace("guest2", "guest3").replace("yes,1", "yes,3"), update=True)
    assert [(item["vm_name"], item["change"]) for item in other.json()["differences"]] == [
        ("guest1", "changed"),
        ("guest3", "added"),
        ("guest2", "missing"),
    ]
    assert other.json()["differences"][0]["fields"] == {"wave": ["1", "3"]}
    assert other.json()["version"] == 2
    assert len(api.http.get("/v1/plans/june/items").json()["items"]) == 3
    less = send(api, SHEET.replace("guest2", "guest3").replace("yes,1", "yes,3"), update=True, remove_missing=True)
    assert less.json()["version"] == 3
    assert [item["vm_name"] for item in api.http.get("/v1/plans/june/items").json()["items"]] == ["guest1", "guest3"]


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 422), (b"PK\x03\x04nonsense", 422), (b"\x00\x01\x02\x03" * 99, 422)]
)
def test_what_is_no_sheet_is_refused(api: Service, content: bytes, status: int) -> None:
    answer = api.http.post("/v1/imports", content=content, params={"plan": "june", "filename": "x.xlsx"})
    assert answer.status_code == status
    assert answer.json()["hint"]


def test_only_an_import_may_be_large(api: Service) -> None:
    large = b"x" * (2 << 20)
    assert api.http.post("/v1/jobs", content=large).json()["code"] == "body_too_large"
    assert api.http.post("/v1/imports", content=large, params={"dry_run": True}).json()["code"] != "body_too_large"
    length = {"Content-Length": str((50 << 20) + 1)}
    answer = api.http.post("/v1/imports", content=b"x", headers=length)
    assert (answer.status_code, "50 MiB" in answer.json()["detail"]) == (413, True)


def test_an_import_says_where_it_goes(api: Service) -> None:
    assert send(api, SHEET, plan="").status_code == 422
    assert send(api, SHEET, plan="template").status_code == 422
    assert send(api, SHEET, plan="a/b").status_code == 422
    assert send(api, SHEET, source="nowhere").status_code == 404


def test_a_document_is_put_again_and_again(api: Service) -> None:
    asked = {
        **document("guest1", "guest2", wave="pilot"),
        "description": "first",
        "waves": [{"name": "pilot", "at_once": 1}],
    }
    made = api.http.put("/v1/plans/june", json=asked)
    assert (made.status_code, made.headers["ETag"]) == (201, '"1"')
    same = api.http.put("/v1/plans/june", json=asked)
    assert (same.status_code, same.headers["ETag"]) == (200, '"1"')
    plan = api.http.get("/v1/plans/june").json()
    assert (plan["description"], plan["waves"][0]["at_once"], plan["waves"][0]["state"]) == ("first", 1, "waiting")
    other = api.http.put("/v1/plans/june", json={**asked, "description": "second"})
    assert (other.status_code, other.json()["version"]) == (200, 2)
    dry = api.http.put("/v1/plans/june", json=document("guest3"), params={"dry_run": True})
    assert {item["change"] for item in dry.json()["differences"]} == {"added", "missing"}
    assert api.http.get("/v1/plans/june").json()["version"] == 2


def test_a_document_is_told_by_pointers(api: Service) -> None:
    waves = [{"name": "1", "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}]
    asked = {"waves": waves, "items": [{"vm_name": "guest1", "pool": "defalt"}, {"vm_name": "guest1"}]}
    answer = api.http.put("/v1/plans/june", json=asked)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [
        "/items/0/pool",
        "/items/1/vm_name",
        "/waves/0/ends_at",
    ]
    naive = api.http.put("/v1/plans/june", json={"items": [{"vm_name": "guest1", "cutover_at": "2030-01-01T00:00:00"}]})
    assert (naive.status_code, naive.json()["errors"][0]["pointer"]) == (422, "/items/0/cutover_at")
    assert api.http.put("/v1/plans/june", json={"items": [{"vm": "guest1"}]}).status_code == 422


def test_a_version_may_be_demanded(api: Service) -> None:
    def put(name: str, **headers: str) -> Any:
        return api.http.put("/v1/plans/june", json=document(name), headers=headers)

    assert put("guest1", **{"If-Match": '"1"'}).status_code == 412
    assert put("guest1", **{"If-None-Match": "*"}).status_code == 201
    assert put("guest1", **{"If-None-Match": "*"}).json()["code"] == "precondition_failed"
    assert put("guest2", **{"If-Match": '"1"'}).status_code == 200
    assert put("guest3", **{"If-Match": '"1"'}).status_code == 412
    assert put("guest3", **{"If-Match": "*"}).status_code == 200


def test_a_plan_is_started_paused_and_cancelled(api: Service) -> None:
    api.http.put("/v1/plans/june", json=document("guest1", "guest2"))
    dry = api.http.post("/v1/plans/june/start", params={"dry_run": True})
    assert (dry.status_code, [vm["name"] for vm in dry.json()["would_start"]]) == (200, ["guest1", "guest2"])
    assert dry.json()["state"] == "draft"
    started = api.http.post("/v1/plans/june/start")
    assert (started.status_code, started.json()["state"]) == (202, "running")
    assert "pause" in started.json()["links"]
    assert api.http.post("/v1/plans/june/pause").json()["state"] == "paused"
    assert api.http.post("/v1/plans/june/start").json()["code"] == "conflict"
    assert api.http.post("/v1/plans/june/resume").json()["state"] == "running"
    cancelled = api.http.post("/v1/plans/june/cancel").json()
    assert (cancelled["state"], cancelled["counts"]) == ("cancelled", {"held": 2})
    item = api.http.get("/v1/plans/june/items").json()["items"][0]
    assert (item["state"], item["job"]) == ("held", None)
    assert "cancelled" in item["next_action"]
    again = api.http.post("/v1/plans/june/retry", json={"items": [item["key"]]}).json()
    assert (again["state"], again["counts"]) == ("running", {"waiting": 1, "held": 1})
    kinds = [event["kind"] for event in api.http.get("/v1/plans/june/events").json()["items"]]
    assert kinds[:3] == ["plan.made", "plan.state", "plan.state"]
    assert api.http.delete("/v1/plans/june").status_code == 204
    assert api.http.get("/v1/plans/june").json()["code"] == "plan_not_found"


def test_a_gate_is_approved(api: Service) -> None:
    api.http.put("/v1/plans/june", json={**document("guest1"), "waves": [{"name": "1", "gate": "manual"}]})
    plan = api.http.post("/v1/plans/june/start").json()
    assert plan["needs_human"] == ["Wave 1 waits for its approval."]
    approved = api.http.post("/v1/plans/june/approve", json={"wave": "1"}).json()
    assert approved["waves"][0]["approved_at"] is not None
    assert approved["needs_human"] == []
    assert api.http.post("/v1/plans/june/approve", json={"wave": "2"}).status_code == 404


def test_who_else_moves_a_vm_is_told(api: Service) -> None:
    api.http.put("/v1/plans/may", json=document("guest1", "guest2", "guest3"))
    job = api.submit("guest4")
    asked = document("guest1", "guest3", "guest4")
    problems = api.http.put("/v1/plans/june", json=asked).json()["problems"]
    assert [(item["place"], item["severity"], item["code"]) for item in problems] == [
        ("/items/0/vm_name", "warning", "vm_in_other_plan"),
        ("/items/2/vm_name", "warning", "vm_has_job"),
    ]
    assert problems[0]["cause"] == 'the plan "may" has 2 of these VMs, too: guest1, guest3'
    assert job in problems[1]["cause"]
    less = api.http.put("/v1/plans/may", json=document("guest2"), params={"remove_missing": True})
    assert less.json()["problems"] == []


def test_items_are_filtered_and_paged(api: Service) -> None:
    rows = [{"vm_name": f"guest{n}", "wave": str(n % 2), "owner": "Ada" if n == 3 else ""} for n in range(1, 6)]
    api.http.put("/v1/plans/june", json={"items": rows})

    def names(**params: Any) -> list[str]:
        items = api.http.get("/v1/plans/june/items", params=params).json()["items"]
        return [item["vm_name"] for item in items]

    assert names(wave="0") == ["guest2", "guest4"]
    assert names(text="ADA") == ["guest3"]
    assert names(state="running") == []
    first = api.http.get("/v1/plans/june/items", params={"limit": 2}).json()
    assert names(limit=2, cursor=first["next_cursor"]) == ["guest3", "guest4"]
    assert api.http.get("/v1/plans/june/items", params={"cursor": "x"}).status_code == 422
    key = first["items"][0]["key"]
    assert api.http.get(f"/v1/plans/june/items/{key}").json()["vm_name"] == "guest1"
    assert api.http.get("/v1/plans/june/items/a:b").status_code == 404


def test_a_template_lists_what_is_there(api: Service) -> None:
    api.store.workers.save_inventory(api.source, "u", [vm(1), vm(2, template=True)])
    answer = api.http.get("/v1/plans/template", params={"source": "lab", "target": "here"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, XLSX)
    made = api.http.post("/v1/imports", content=answer.content, params={"plan": "june", "filename": "plan.xlsx"})
    assert made.status_code == 201, made.text
    assert [item["vm_name"] for item in made.json()["differences"]] == ["guest1"]
    assert api.http.get("/v1/plans/template", params={"source": "no"}).status_code == 404


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_an_export_can_be_imported_again(api: Service, kind: str) -> None:
    rows = [
        {
            "vm_name": "guest1",
            "cpus": 4,
            "memory_bytes": 3 << 30,
            "networks": {"VM Network": "default"},
            "pool": "default",
        },
        {"vm_name": "guest2", "depends_on": ["guest1"], "cutover_at": "2030-01-01T10:00:00+02:00", "notes": "=1+1"},
        {"vm_name": "guest3", "include": False, "group": "erp", "power_on": False, "strategy": "disk_only", "order": 3},
    ]
    api.http.put("/v1/plans/june", json={"waves": [{"name": "1", "at_once": 3}], "items": rows})
    answer = api.http.get("/v1/plans/june/export", params={"format": kind})
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="june.{kind}"'
    again = api.http.post(
        "/v1/imports", content=answer.content, params={"plan": "june", "filename": f"june.{kind}", "update": True}
    )
    assert {item["change"] for item in again.json()["differences"]} == {"unchanged"}, again.json()["differences"]
    assert again.json()["version"] == 1


def test_what_was_started_is_locked(api: Service) -> None:
    api.http.put("/v1/plans/june", json=document("guest1", "guest2"))
    api.http.post("/v1/plans/june/start")
    begin(api, "june", "guest1")
    changed = document("guest1", "guest2", pool="default")
    answer = api.http.put("/v1/plans/june", json=changed).json()
    assert [(item["change"], item["fields"]) for item in answer["differences"]] == [
        ("locked", {"pool": ["", "default"]}),
        ("changed", {"pool": ["", "default"]}),
    ]
    items = api.http.get("/v1/plans/june/items").json()["items"]
    assert [(item["options"]["pool"], item["state"]) for item in items] == [("", "running"), ("default", "waiting")]
    gone = api.http.put("/v1/plans/june", json=document("guest2", pool="default"), params={"remove_missing": True})
    assert [item["change"] for item in gone.json()["differences"]] == ["unchanged", "locked"]
    assert api.http.delete("/v1/plans/june").status_code == 409


def begin(api: Service, plan: str, name: str) -> str:
    """What a worker does first: it starts the job of one item."""
    before, entries = api.store.plans.standing(plan)
    key = next(entry.key for entry in entries if entry.name == name)
    listed = api.store.inventory.find(api.source, name)
    job = Job(
        id=new_id(), vm_id=listed.vm.id, vm_name=name, source_id=api.source, source_name="lab", target_id=api.target,
        target_name="here", plan_id=before.id, options=MoveOptions(), vm=listed.vm, created_at=now(),
    )  # fmt: skip
    api.store.plans.advance(before.id, lambda plan, _: Change(plan, start=[(key,)]), {(key,): {key: job}}, {})
    assert job.id in api.admit()
    api.store.jobs.transition(job.id, JobState.RUNNING)
    return job.id
