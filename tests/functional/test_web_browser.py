"""The pages in Debian's Chromium: pictures of them, axe-core, what scripts bring, a large plan.

`pytest --screens tests/functional/test_web_browser.py` writes docs/screens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page

from app.domain.plan import PlanState
from app.domain.states import JobState
from app.store.paging import PageRequest
from app.web.drafts import Drafts
from tests.functional.browser import SIZES, Site, chromium, opened, site
from tests.functional.large_world import large_plan
from tests.functional.world import SOURCE, World

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
MANY = 1000
SHEET = "include,wave,VM name,target,pool,networks,owner\n" + "".join(
    f"yes,{wave},{name},{target},{pool},{networks},{owner}\n"
    for wave, name, target, pool, networks, owner in (
        ("night 1", "cache12", "kvm01", "", "", "platform"),
        ("night 1", "files14", "kvm03", "nvme1", "", "office"),
        ("night 1", "jump15", "kvm01", "", "DMZ=bridge:br-dmx", "platform"),
        ("night 2", "app18", "kvm03", "nvme1", "", "shop"),
        ("night 2", "db19", "kvm01", "ssd", "", "shop"),
        ("night 2", "web99", "kvm01", "", "", "shop"),
    )
)


@pytest.fixture(scope="module")
def screens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    return SCREENS if request.config.getoption("--screens", default=False) else tmp_path_factory.mktemp("screens")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("home")) as made:
        world = World(made.settings, made.store)
        world.fill_with_moves()
        world.fill_with_plans()
        yield made


@pytest.fixture(scope="module")
def pages(there: Site) -> dict[str, str]:
    """The name of each page, as its picture is called → its path."""
    jobs = {job.vm_name: job.id for job in there.store.requests.list(PageRequest(50)).items}
    sheet = Drafts(there.settings).keep("weekend.csv", SHEET.encode())
    vms = [(SOURCE, f"vm-{1000 + number}", f"vm {number}") for number in (12, 20)]
    picked = Drafts(there.settings).pick(vms, "kvm01")
    return {
        "plans": "/plans",
        "plan": "/plans/Frankfurt weekend",
        "plan-draft": "/plans/Test lab",
        "vm-planned": "/plans/Frankfurt weekend/items/5a0e3c8e-vcenter:vm-1012",
        "new-plan": "/plans/new",
        "new-plan-sheet": f"/plans/new/{sheet.id}",
        "new-plan-picked": f"/plans/new/{picked.id}",
        "moves": "/jobs",
        "vm-moved": f"/jobs/{jobs['web01']}",
        "vm-moving": f"/jobs/{jobs['db03']}",
        "vm-failed": f"/jobs/{jobs['mail05']}",
        "system": "/system",
        "missing": "/nothing",
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", list(SIZES))
def test_every_page_can_be_read_by_everybody(
    browser: Browser, there: Site, pages: dict[str, str], screens: Path, width: int, dark: bool
) -> None:
    """No serious finding of axe-core, nothing beyond the edge, no word in the console; a picture of each page."""
    page = opened(browser, there, width, dark=dark)
    told: list[str] = []
    page.on("console", lambda message: told.append(_of(message)) if message.type in ("error", "warning") else None)
    screens.mkdir(exist_ok=True)
    found: list[str] = []
    for name, path in pages.items():
        page.goto(there.url + path)
        page.wait_for_load_state("load")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name}: wider than {width} px")
        if not dark and name != "missing":
            page.screenshot(path=screens / f"{name}-{width}.png", full_page=True)
        found += [f"{name}: {finding}" for finding in _axe(page)]
    page.context.close()
    assert not found
    assert [line for line in told if "404" not in line] == []


def test_the_login_can_be_read_by_everybody(browser: Browser, there: Site, screens: Path) -> None:
    for width in SIZES:
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": SIZES[width]},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page = context.new_page()
            page.goto(f"{there.url}/login")
            if scheme == "light":
                page.screenshot(path=screens / f"login-{width}.png")
            assert _axe(page) == []
            page.get_by_label("Token").fill("vmf_wrong")
            page.keyboard.press("Enter")
            assert page.get_by_role("alert").inner_text() == "This is no valid token. It may have been revoked."
            assert _axe(page) == []
            context.close()


def test_a_move_that_is_looked_at_changes_by_itself(browser: Browser, tmp_path: Path) -> None:
    with site(tmp_path) as there:
        world = World(there.settings, there.store)
        job = world.move(3, JobState.RUNNING, done="shutdown")
        page = opened(browser, there)
        with page.expect_response(lambda answer: "/live" in answer.url):
            page.goto(f"{there.url}/jobs/{job.id}")
        there.store.jobs.progress(job.id, job.disks, 50e6, 3.0)
        page.get_by_text("47.7 MiB/s").wait_for()
        there.store.jobs.step_ended(job.id, "transfer", "succeeded", detail="<i>all there")
        page.get_by_role("log").get_by_text("transfer succeeded: <i>all there").wait_for()
        page.context.close()


def test_a_plan_changes_while_somebody_works_on_it(browser: Browser, tmp_path: Path) -> None:
    """What is ticked stays so, and what the keyboard is at stays there."""
    with site(tmp_path) as there:
        world = World(there.settings, there.store)
        world.fill_with_moves()
        world.fill_with_plans()
        job = there.store.jobs.job(world.jobs["db03"])
        page = opened(browser, there)
        with page.expect_response(lambda answer: "/live" in answer.url):
            page.goto(f"{there.url}/plans/Frankfurt weekend")
        page.get_by_role("checkbox", name="db03").check()
        assert page.locator("[data-count=key]").inner_text() == "1"
        page.get_by_role("link", name="db03").focus()
        there.store.jobs.progress(job.id, job.disks, 50e6, 3.0)
        page.get_by_role("row", name="db03").get_by_text("47.7 MiB/s").wait_for()
        there.store.jobs.transition(job.id, JobState.FAILED, error={"code": "x", "message": "cut", "hint": ""})
        page.get_by_role("row", name="db03").get_by_text("failed", exact=True).wait_for()
        assert page.get_by_role("checkbox", name="db03").is_checked()
        assert page.evaluate("document.activeElement.textContent") == "db03"
        page.get_by_label("All shown").check()
        assert int(page.locator("[data-count=key]").inner_text()) > 10
        page.context.close()


def test_a_new_plan_is_mended_while_it_is_checked(browser: Browser, there: Site) -> None:
    """By keyboard and labels alone: choosing checks again at once."""
    page = opened(browser, there)
    page.goto(f"{there.url}/plans/new")
    page.get_by_label("Sheet", exact=True).set_input_files(
        {"name": "office.csv", "mimeType": "text/csv", "buffer": SHEET.encode()}
    )
    page.get_by_role("button", name="Read the sheet").click()
    page.get_by_text("4 errors").wait_for()
    assert page.get_by_role("button", name="Make the plan").is_disabled()
    page.get_by_label("VMs for kvm03, nvme1 go to").select_option("kvm03/ssd")
    page.get_by_text("2 errors").wait_for()
    page.get_by_label("DMZ is plugged into").select_option("bridge:br-dmz")
    page.get_by_text("1 error", exact=True).wait_for()
    mended = SHEET.replace("web99", "web17").replace("nvme1", "ssd").replace("br-dmx", "br-dmz")
    page.get_by_text("Another sheet…").click()
    page.get_by_label("Sheet", exact=True).set_input_files(
        {"name": "office.csv", "mimeType": "text/csv", "buffer": mended.encode()}
    )
    page.get_by_role("button", name="Read the sheet").click()
    page.get_by_text("No errors.").wait_for()
    page.get_by_role("button", name="Make the plan").click()
    page.wait_for_url("**/plans/office")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert there.store.plans.get("office").state is PlanState.RUNNING
    page.context.close()


def test_pages_work_without_scripts(browser: Browser, there: Site) -> None:
    page = opened(browser, there, scripts=False)
    page.goto(f"{there.url}/plans/new")
    page.get_by_label("Sheet", exact=True).set_input_files(
        {"name": "plain.csv", "mimeType": "text/csv", "buffer": SHEET.encode()}
    )
    page.get_by_role("button", name="Read the sheet").click()
    page.get_by_label("VMs for kvm03, nvme1 go to").select_option("kvm03/ssd")
    page.get_by_role("button", name="Check again").click()
    page.get_by_text("2 errors").wait_for()
    assert page.get_by_label("VMs for kvm03, nvme1 go to").input_value() == "kvm03/ssd"
    page.goto(f"{there.url}/plans/Test lab")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel this plan").click()
    page.get_by_text("Cancelled: retry to move them after all.").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    page.context.close()


def test_a_plan_of_a_thousand_vms_has_a_row_for_each(browser: Browser, tmp_path: Path) -> None:
    with site(tmp_path) as there:
        large_plan(there.settings, there.store, MANY)
        page = opened(browser, there)
        page.goto(f"{there.url}/plans/large", wait_until="load")
        assert page.get_by_role("row").count() > MANY
        page.context.close()


def _axe(page: Page) -> list[str]:
    """What axe-core finds that is serious or worse."""
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"][:3]
    ]


def _of(message: ConsoleMessage) -> str:
    return f"{message.location.get('url', '')}: {message.text}"
