"""Plans in the browser, without its scripts: made of sheets and of picked VMs, looked at, started and stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.domain.plan import Gate, PlanState, Wave
from app.domain.states import JobState
from app.sheets.export import export_csv
from app.store.inventory import Inventory
from tests.functional.api import Service
from tests.functional.browser import Site, site
from tests.functional.page_calls import news_of, signed_in, with_session
from tests.functional.world import World

KEY = "5a0e3c8e-vcenter:vm-{}".format


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with with_session(tmp_path) as made:
        yield made


@pytest.fixture
def world(api: Service) -> World:
    made = World(api.settings, api.store)
    made.fill_with_moves()
    made.fill_with_plans()
    return made


def test_plans_are_listed_with_who_needs_a_human(api: Service, world: World) -> None:
    page = api.http.get("/plans").text
    for said in (
        "Frankfurt weekend",
        "mail05 failed: solve the cause",
        "2 succeeded",
        "10 waiting",
        "It is paused: 1 VM",
    ):
        assert said in page
    assert api.http.get("/", follow_redirects=False).headers["location"] == "/plans"


def test_without_plans_the_list_says_what_to_do(api: Service) -> None:
    assert "No plan yet." in api.http.get("/plans").text


def test_a_plan_shows_waves_and_a_row_for_each_vm(api: Service, world: World) -> None:
    page = api.http.get("/plans/Frankfurt weekend").text
    for number in range(1, 24):
        assert f">{world.vms[number - 1].name}</a>" in page
    for said in (
        "Approve wave night 2",
        "stops after 5 failures",
        "Wave night 1: running, its window opens",
        "left out",
    ):
        assert said in page
    assert 'aria-label="2 of 8 steps done, transfer running"' in page
    assert "it depends on mail05, which failed" in page


def test_rows_are_filtered(api: Service, world: World) -> None:
    here = "/plans/Frankfurt weekend"
    failed = api.http.get(f"{here}?state=failed").text
    assert ">mail05</a>" in failed
    assert ">web01</a>" not in failed
    assert ">web01</a>" in api.http.get(f"{here}?wave=pilot").text
    assert "1 shown" in api.http.get(f"{here}?text=AUDIT").text
    assert "No VM is like that." in api.http.get(f"{here}?text=nobody").text
    assert api.http.get(f"{here}?state=flying").status_code == 422


def test_a_plan_of_anybodys_words_is_text_and_no_markup(api: Service, world: World) -> None:
    evil = '<img src=x onerror=alert(1)>"'
    plan = world.plan(evil, [Wave(name=evil)], PlanState.RUNNING, description=evil, reason=evil, started_at=world.now)
    world.put(plan, evil, [13], owner=evil, notes=evil, held=evil, group=evil)
    for path in ("/plans", f"/plans/{plan.id}", f"/plans/{plan.id}/items/{KEY(1013)}"):
        page = api.http.get(path)
        assert page.status_code == 200
        assert "<img src=x" not in page.text
        assert "&lt;img src=x" in page.text


def test_a_vm_that_was_not_started_has_a_page_of_what_is_planned(api: Service, world: World) -> None:
    page = api.http.get(f"/plans/Frankfurt weekend/items/{KEY(1013)}").text
    for said in (
        "<h1>mail13</h1>",
        "Waits until wave night 1 is over.",
        "not before",
        "&lt;name&gt;mail13&lt;/name&gt;",
        "blocker",
    ):
        assert said in page
    held = api.http.get(f"/plans/Frankfurt weekend/items/{KEY(1012)}").text
    assert ">mail05</a>" in held  # what it depends on
    started = api.http.get(f"/plans/Frankfurt weekend/items/{KEY(1003)}", follow_redirects=False)
    assert started.headers["location"] == f"/jobs/{world.jobs['db03']}"
    assert ">Frankfurt weekend</a>" in api.http.get(f"/jobs/{world.jobs['db03']}").text
    assert api.http.get("/plans/Frankfurt weekend/items/none").status_code == 404


def test_a_plan_is_started_paused_resumed_and_cancelled(api: Service, world: World) -> None:
    for verb, state in (
        ("start", PlanState.RUNNING),
        ("pause", PlanState.PAUSED),
        ("resume", PlanState.RUNNING),
        ("cancel", PlanState.CANCELLED),
    ):
        answer = api.http.post(f"/plans/Test lab/{verb}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/plans/Test%20lab")
        assert api.store.plans.get("Test lab").state is state
    assert api.http.post("/plans/Test lab/start").status_code == 409
    assert api.http.post("/plans/Test lab/burn").status_code == 422
    assert api.http.post("/plans/none/start").status_code == 404


def test_a_gate_is_opened(api: Service, world: World) -> None:
    api.http.post("/plans/Frankfurt weekend/approve", data={"wave": "night 2"})
    wave = api.store.plans.get("Frankfurt weekend").wave("night 2")
    assert wave
    assert wave.gate is Gate.MANUAL
    assert wave.approved_at
    page = api.http.get("/plans/Frankfurt weekend").text
    assert "Approve wave" not in page
    assert "approved" in page


def test_chosen_vms_are_retried_cancelled_and_rolled_back(api: Service, world: World) -> None:
    here = "/plans/Frankfurt weekend/items"

    assert "no VM was chosen" in api.http.post(here, data={"verb": "retry"}).text
    api.http.post(here, data={"verb": "retry", "key": [KEY(1005), KEY(1007)]})
    items = {item.key: item for item in api.store.plans.items(api.store.plans.get("Frankfurt weekend").id)}
    assert items[KEY(1005)].again
    assert items[KEY(1007)].again
    assert not items[KEY(1008)].again
    api.http.post(here, data={"verb": "cancel", "key": [KEY(1011), KEY(1001)]})
    assert api.store.jobs.job(world.jobs["db11"]).state is JobState.CANCELLED
    assert api.store.jobs.job(world.jobs["web01"]).state is JobState.SUCCEEDED
    assert "none of the chosen VMs is under way" in api.http.post(here, data={"verb": "cancel", "key": KEY(1001)}).text
    refused = api.http.post(here, data={"verb": "rollback", "key": KEY(1001)})
    assert refused.status_code == 409
    assert "is lost" in refused.text
    api.http.post(here, data={"verb": "rollback", "key": KEY(1001), "confirm_data_loss": "yes"})
    assert api.store.jobs.job(world.jobs["web01"]).state is JobState.ROLLING_BACK


def test_a_wave_is_rolled_back(api: Service, world: World) -> None:
    api.http.post("/plans/Frankfurt weekend/rollback", data={"wave": "pilot", "confirm_data_loss": "yes"})
    for name in ("web01", "app02"):
        assert api.store.jobs.job(world.jobs[name]).state is JobState.ROLLING_BACK
    assert api.store.jobs.job(world.jobs["db03"]).state is JobState.RUNNING


def test_a_plan_is_exported_and_removed(api: Service, world: World) -> None:
    csv = api.http.get("/plans/Jump hosts/export.csv")
    assert "attachment" in csv.headers["content-disposition"]
    assert "ci24" in csv.content.decode("utf-8-sig")
    assert api.http.get("/plans/Jump hosts/export.xlsx").content.startswith(b"PK")
    assert api.http.post("/plans/Frankfurt weekend/remove").status_code == 409
    assert api.http.post("/plans/Jump hosts/remove", follow_redirects=False).headers["location"] == "/plans"
    assert api.http.get("/plans/Jump hosts").status_code == 404


# ---- a new one


SHEET = (
    "include,wave,VM name,target,pool,networks,owner\n"
    "yes,night 1,mail13,kvm03,nvme1,,shop\n"
    "yes,night 1,files14,kvm01,,VM Network=defualt,shop\n"
    "yes,night 2,jump15,kvm03,nvme1,,\n"
)


def drop(api: Service, content: str | bytes = SHEET, name: str = "weekend.csv", **data: str) -> httpx.Response:
    return api.http.post("/plans/new/sheet", files={"sheet": (name, content)}, data=data)


def fields_of(page: str) -> dict[str, list[str]]:
    """What a browser would send of the page's form, as it stands."""
    form = page[page.index('<form class="draft"') :]
    sent: dict[str, list[str]] = {}
    for tag in re.finditer(r"<input[^>]*>|<select.*?</select>", form, re.DOTALL):
        name = re.search(r'name="([^"]+)"', tag[0])
        if name is None or 'type="checkbox"' in tag[0]:
            continue
        if tag[0].startswith("<input"):
            value = re.search(r'value="([^"]*)"', tag[0])
        else:
            options = re.findall(r"<option[^>]*>[^<]*", tag[0])
            chosen = next((option for option in options if " selected" in option), options[0])
            value = re.search(r'value="([^"]*)"', chosen) or re.search(r">([^<]*)", chosen)
        sent.setdefault(name[1], []).append(value[1] if value else "")
    return sent


def test_a_sheet_is_dropped_mended_on_the_page_and_becomes_a_plan(api: Service, world: World) -> None:
    page = drop(api)
    here = str(page.url.path)
    assert re.fullmatch(r"/plans/new/[0-9a-f]{12}", here)
    for said in (
        "<strong>3 errors</strong>",
        "weekend.csv!E2</code> <code>weekend.csv!E4</code> pool &#34;nvme1&#34; is not on kvm03",
        "Did you mean &#34;nvme01&#34;?",
        "weekend.csv!F3</code> ",
        "kvm03, nvme1: is not there",
    ):
        assert said in page.text
    sent = fields_of(page.text)
    assert sent["name"] == ["weekend"]
    assert sent["said_pool"] == ["", "nvme1"]
    refused = api.http.post(here, data={**sent, "do": "make"})
    assert refused.status_code == 422
    assert api.http.get("/plans/weekend").status_code == 404
    sent["to"] = ["kvm01/", "kvm03/ssd"]
    sent["plug"] = [("default" if name == "VM Network" else "ovs:br0") for name in sent["network"]]
    sent["wave_starts_at"] = ["2030-01-05T22:00", ""]
    sent["wave_gate"] = ["none", "manual"]
    part = api.http.post(here, data=sent, headers={"HX-Request": "true"}).text
    assert "<html" not in part
    made = api.http.post(here, data={**sent, "do": "make"})
    assert made.url.path == "/plans/weekend", made.text
    plan = api.store.plans.get("weekend")
    assert [(wave.name, wave.gate) for wave in plan.waves] == [("night 1", Gate.NONE), ("night 2", Gate.MANUAL)]
    assert f"{plan.waves[0].starts_at:%Y-%m-%d %H:%M %Z}" == "2030-01-05 22:00 UTC"
    options = {item.vm_name: item.options for item in api.store.plans.items(plan.id)}
    assert options["mail13"].pool == "ssd"
    assert options["files14"].networks == {"VM Network": "default"}
    assert api.http.get(here).status_code == 404  # the draft is done with


def test_rows_with_errors_can_be_left_out(api: Service, world: World) -> None:
    page = drop(api, SHEET + "yes,night 2,web99,kvm01,,,\nyes,night 2,app18,kvm01,,,\n")
    assert "4 errors" in page.text
    sent = {**fields_of(page.text), "leave_out": "yes"}
    told = api.http.post(page.url.path, data=sent).text
    assert "No errors." in told
    assert "Leave out the rows that have errors: 4 rows" in told
    made = api.http.post(page.url.path, data={**sent, "do": "make"})
    assert made.url.path == "/plans/weekend", made.text
    items = api.store.plans.items(api.store.plans.get("weekend").id)
    assert {item.vm_name: item.include for item in items} == {
        "mail13": False,
        "files14": False,
        "jump15": False,
        "app18": True,
    }


def test_vms_are_picked_from_the_inventory(api: Service, world: World) -> None:
    page = api.http.get("/plans/new?text=cache&verdict=ready").text
    boxes = re.findall(r'name="vm" value="([^"]+)" aria-label="([^"]+)"', page)
    assert [name for _, name in boxes] == ["cache04", "cache12", "cache20"]
    judged_for = re.findall(r'type="hidden" name="target" value="([^"]+)"', page)
    draft = api.http.post("/plans/new/vms", data={"vm": [box for box, _ in boxes[1:]], "target": judged_for})
    assert "2 VMs picked from the inventory" in draft.text
    sent = fields_of(draft.text)
    assert "the plan has no name yet" in draft.text
    made = api.http.post(draft.url.path, data={**sent, "name": "caches", "do": "make"})
    assert made.url.path == "/plans/caches", made.text
    items = api.store.plans.items(api.store.plans.get("caches").id)
    assert [(item.vm_name, item.target, item.wave) for item in items] == [
        ("cache12", "kvm01", "1"),
        ("cache20", "kvm01", "1"),
    ]
    assert "no VM was ticked" in api.http.post("/plans/new/vms").text


def test_what_is_wrong_with_the_tables_is_told_at_their_place(api: Service, world: World) -> None:
    page = drop(api, "VM name,target\nmail13,kvm01\n")
    sent = fields_of(page.text)
    sent["wave_starts_at"], sent["wave_ends_at"] = ["soon"], ["2030-01-01T00:00"]
    told = api.http.post(page.url.path, data=sent).text
    assert "<code>wave 1</code>" in told
    sent["wave_starts_at"], sent["wave_at_once"] = [""], ["0"]
    assert "<code>wave 1</code> at_once" in api.http.post(page.url.path, data=sent).text


@pytest.mark.parametrize(
    ("name", "said"), [("", "no name yet"), ("a/b", "cannot be its name"), ("Test lab", "already")]
)
def test_a_plan_needs_a_name_of_its_own(api: Service, world: World, name: str, said: str) -> None:
    page = drop(api, "VM name,target\nfiles14,kvm01\n")
    answer = api.http.post(page.url.path, data={**fields_of(page.text), "name": name, "do": "make"})
    assert answer.status_code == 422
    assert said in answer.text


def test_a_plan_is_changed_with_its_own_export(api: Service, world: World) -> None:
    plan = api.store.plans.get("Test lab")
    items = api.store.plans.items(plan.id)
    page = drop(api, export_csv(items, {}), "lab.csv", plan="Test lab")
    assert page.url.params["plan"] == "Test lab"
    assert "6 unchanged" in page.text
    fewer = drop(api, export_csv(items[:4], {}), "lab.csv", plan="Test lab")
    sent = {**fields_of(fewer.text), "remove_missing": "yes"}
    assert "2 missing" in api.http.post(fewer.url.path, data=sent).text
    api.http.post(fewer.url.path, data={**sent, "do": "make"})
    assert len(api.store.plans.items(plan.id)) == 4


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "plan.xlsx", "the file is empty"),
        (b"PK\x03\x04 not a zip", "plan.xlsx", ""),
        (b"a,b\n1,2\n", "x.csv", "no VMs are found"),
    ],
)
def test_a_sheet_that_is_none_is_told_on_the_page(
    api: Service, world: World, content: bytes, name: str, said: str
) -> None:
    answer = drop(api, content, name)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert said in answer.text
    assert "Drop a sheet" in answer.text
    assert not (api.settings.home / "drafts").exists()


def test_no_sheet_is_told(api: Service, world: World) -> None:
    assert "no sheet was chosen" in api.http.post("/plans/new/sheet", files={"sheet": ("", b"")}).text
    assert "no sheet was chosen" in api.http.post("/plans/new/sheet", data={"sheet": "text"}).text


def test_drafts_are_found_by_their_id_only(api: Service, world: World) -> None:
    for path in ("/plans/new/..%2F..%2Ftoken", "/plans/new/0123456789ab", "/plans/new/" + "a" * 300):
        assert api.http.get(path).status_code == 404


def test_the_checked_sheet_and_the_template_are_workbooks(api: Service, world: World) -> None:
    page = drop(api)
    assert api.http.get(f"{page.url.path}/annotated.xlsx").content.startswith(b"PK")
    assert api.http.get("/plans/new/template.xlsx?source=vcenter-fra&target=kvm01").content.startswith(b"PK")


def test_sheets_may_be_large_and_no_other_form(api: Service, world: World) -> None:
    rows = "".join(f"x{number}{'y' * 90},kvm01\n" for number in range(20_000))
    answer = drop(api, f"VM name,target\n{rows}", "many.csv")
    assert answer.status_code != 413
    assert api.http.post("/plans/Test lab/items", content=b"x" * (2 << 20)).status_code == 413


def test_without_sources_a_new_plan_says_what_to_do(api: Service) -> None:
    assert "vmferry source add" in api.http.get("/plans/new").text


def test_an_inventory_is_read_once_for_a_check(api: Service, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cards of all VMs of a source come in one query."""
    asked: list[str] = []
    cards = Inventory.cards

    def counted(self: Inventory, source_id: str) -> dict[str, tuple[str, ...]]:
        asked.append(source_id)
        return cards(self, source_id)

    monkeypatch.setattr(Inventory, "cards", counted)
    drop(api)
    assert asked == [world.source]


# ---- as it changes


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def test_a_plan_that_is_looked_at_changes_row_by_row(there: Site) -> None:
    world = World(there.settings, there.store)
    world.fill_with_moves()
    world.fill_with_plans()
    job = there.store.jobs.job(world.jobs["db03"])
    with signed_in(there) as browser:
        page = browser.get(f"{there.url}/plans/Frankfurt weekend", timeout=20).text
        after = there.store.events.last_id()
        live = f"{there.url}/plans/Frankfurt weekend/live?after={after}"
        with browser.get(live, stream=True, timeout=20) as stream:
            events = news_of(stream)
            there.store.jobs.progress(job.id, job.disks, 50e6, 3.0)
            first = next(events)
            while "47.7 MiB/s" not in first["data"]:
                first = next(events)
            there.store.jobs.progress(job.id, job.disks, 60e6, 3.0)
            second = next(events)
            said = second["data"]
        assert "57.2 MiB/s" in said
        assert len(f"id: {second['id']}\nevent: change\ndata: {said}\n\n") <= 5 << 10
        changed = re.findall(r'<div id="([sdn][0-9a-f]{10})" hx-swap-oob', said)
        assert changed == [place for place in changed if f'id="{place}"' in page]
        assert len(changed) == 1  # its disks; its state and what is next are as they were
