"""The same weekend in a browser, and nothing but a browser: a sheet with two errors, mended; watched to its end; one VM
tried again, one given back.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.functional.browser import chromium, opened
from tests.sheets.filling import fill
from tests.system.fleet import Fleet, break_disks, fleet

COUNT = 44
MOVED_MS = 300_000


@pytest.fixture
def vms(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path, COUNT, "page") as vms:
        yield vms


@pytest.mark.timeout(900)
def test_a_sheet_becomes_a_plan_and_the_plan_moves_them_all(vms: Fleet, tmp_path: Path) -> None:
    with chromium() as browser:
        page = opened(browser, vms)
        page.set_default_timeout(60_000)
        _work(page, vms, tmp_path)


def _work(page: Page, vms: Fleet, folder: Path) -> None:
    names = vms.names
    pilot, broken, back = names[:4], names[20], names[12]
    page.get_by_role("link", name="Plans").first.click()
    page.get_by_role("link", name="New plan").click()
    with page.expect_download() as fetched:
        page.get_by_role("link", name="Template").click()
    sheet = folder / "july.xlsx"
    fetched.value.save_as(sheet)

    rows = {name: {"strategy": "disk_only", "wave": "pilot" if name in pilot else "main"} for name in names}
    waves = [{"wave": "pilot"}, {"wave": "main", "gate": "manual"}]
    fill(
        sheet,
        {**rows, names[1]: {**rows[names[1]], "pool": "nvme1"}, names[2]: {**rows[names[2]], "CPU": "many"}},
        waves,
    )
    _drop(page, sheet)
    expect(page.get_by_text("2 errors", exact=True)).to_be_visible()
    for cell in ("Plan!K3", "Plan!O4"):
        expect(page.get_by_text(cell)).to_be_visible()
    expect(page.get_by_role("button", name="Make the plan")).to_be_disabled()

    fill(sheet, {names[1]: {"pool": None}, names[2]: {"CPU": None}})
    page.get_by_text("Another sheet…").click()
    _drop(page, sheet)
    expect(page.get_by_text("No errors.")).to_be_visible()
    page.get_by_role("button", name="Make the plan").click()
    assert vms.moved() == set()

    page.get_by_role("button", name="Start", exact=True).click()
    approve = page.get_by_role("button", name="Approve wave main")
    expect(approve).to_be_visible(timeout=MOVED_MS)
    vms.until(lambda: vms.moved() == set(pilot))
    break_disks(vms.lab, broken)
    approve.click()

    expect(page.get_by_role("button", name="Retry what failed")).to_be_visible(timeout=MOVED_MS)
    expect(page.locator("#head").get_by_text("failed", exact=True)).to_be_visible(timeout=MOVED_MS)
    assert vms.moved() == set(names) - {broken}
    vms.assert_untouched(broken)

    vms.lab.clear()
    page.get_by_role("checkbox", name=broken).check()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#head").get_by_text("succeeded", exact=True)).to_be_visible(timeout=MOVED_MS)
    for name in names:
        vms.assert_moved(name)
    vms.assert_nothing_else()

    page.get_by_role("checkbox", name=back).check()
    page.locator("form", has=page.get_by_role("checkbox", name=back)).get_by_text("Roll back…").click()
    page.get_by_label("What was written on the targets since is lost").last.check()
    page.get_by_role("button", name="Roll back the chosen").click()
    expect(page.get_by_role("row", name=back).get_by_text("rolled back", exact=True)).to_be_visible(timeout=MOVED_MS)
    vms.assert_untouched(back)
    assert vms.moved() == set(names) - {back}
    vms.assert_nothing_else()


def _drop(page: Page, sheet: Path) -> None:
    page.get_by_label("Sheet", exact=True).set_input_files(sheet)
    page.get_by_role("button", name="Read the sheet").click()
