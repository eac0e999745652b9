"""The page of a plan with a thousand VMs in Chromium, from the click to its load event."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Page

from tests.bench.measure import in_turns
from tests.bench.results import Outcome
from tests.bench.stats import figure, seconds
from tests.functional.browser import chromium, opened, site
from tests.functional.large_world import large_plan

TITLE = "A plan's page with 1,000 VMs"
VMS = 1000
OURS = "the plan's page in Chromium"


def prepare() -> None:
    pass


def measure(runs: int, folder: Path) -> Outcome:
    with site(folder) as there, chromium() as browser:
        large_plan(there.settings, there.store, VMS)
        page = opened(browser, there)
        sides = in_turns({OURS: lambda: _load(page, f"{there.url}/plans/large")}, runs)
    took = [seconds(run) for run in sides[OURS]]
    return Outcome([figure("seconds to the load event", took, bar=1, bound="most", unit=" s")], sides)


def _load(page: Page, url: str) -> Mapping[str, float]:
    page.goto(url, wait_until="load")
    rows = page.get_by_role("row").count()
    if rows <= VMS:
        raise RuntimeError(f"the page has {rows} rows")
    return {"seconds": page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000}
