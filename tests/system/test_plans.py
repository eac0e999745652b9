"""A weekend in small: an export of RVTools becomes a plan, and the plan moves 44 VMs, by the command line alone."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sheets.filling import fill
from tests.system.fleet import Fleet, break_disks, fleet

COUNT = 44


@pytest.fixture
def vms(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path, COUNT, "plan") as vms:
        yield vms


@pytest.mark.timeout(600)
def test_an_export_of_rvtools_becomes_a_plan_and_the_plan_moves_them_all(vms: Fleet, tmp_path: Path) -> None:
    run, ask, names = vms.service.run, vms.service.json, vms.names
    pilot, shop, rest = names[:5], names[5:36], names[36:]
    broken, *_ = group = shop[10:13]  # one that no transport can read, and those that move with it or not at all
    waits = shop[3]  # comes before them in the sheet, and depends on the broken one

    export = tmp_path / "RVTools_export_all.xlsx"
    export.write_bytes(vms.rvtools())
    checked = ask("plan", "check", str(export), "--target", "kvm")
    assert (checked["kind"], checked["rows"], checked["vms"]) == ("rvtools", COUNT, COUNT)
    run("plan", "import", str(export), "--plan", "june", "--target", "kvm")
    again = run("plan", "import", str(export), "--plan", "june", "--target", "kvm", check=False)
    assert (again.returncode, "vmferry plan apply" in again.stderr) == (6, True)

    sheet = tmp_path / "june.xlsx"
    run("plan", "export", "june", "--to", str(sheet))
    rows: dict[str, dict[str, Any]] = {name: {"strategy": "disk_only"} for name in names}
    for wave, members in (("pilot", pilot), ("shop", shop), ("rest", rest)):
        for name in members:
            rows[name]["wave"] = wave
    for name in group:
        rows[name]["group"] = "database"
    rows[waits]["depends on"] = broken
    waves = [
        {"wave": "pilot", "at once": 2},
        {"wave": "shop", "gate": "manual"},
        {"wave": "rest", "gate": "all_green"},
    ]
    fill(sheet, {**rows, pilot[1]: {**rows[pilot[1]], "pool": "nvme1"}}, waves)
    wrong = run("plan", "diff", str(sheet), "--plan", "june", check=False)
    assert wrong.returncode == 3
    assert 'Plan!K3: pool "nvme1" is not on kvm' in wrong.stdout
    fill(sheet, {pilot[1]: {"pool": None}})
    changes = ask("plan", "diff", str(sheet), "--plan", "june")["differences"]
    assert [change["change"] for change in changes] == ["changed"] * COUNT
    run("plan", "apply", str(sheet), "--plan", "june")
    assert vms.moved() == set()

    # the first wave, and the gate behind it
    run("plan", "start", "june")
    vms.until(lambda: ask("plan", "show", "june")["needs_human"] != [])
    assert vms.moved() == set(pilot)

    # the second one: something breaks, and somebody pulls the plug
    break_disks(vms.lab, broken)
    run("plan", "approve", "june", "shop")
    vms.until(lambda: len(vms.moved()) >= len(pilot) + 8)
    vms.service.stop(signal.SIGKILL)
    vms.service.start()
    good = {*pilot, *shop} - {*group, waits}
    vms.until(lambda: vms.moved() >= good)
    vms.until(lambda: not any(moving(vms)))
    assert vms.moved() == good
    for name in (*group, waits, *rest):
        vms.assert_untouched(name)
    vms.assert_nothing_else()

    # the cause is gone: what failed goes again, and what waited for it
    vms.lab.clear()
    run("plan", "retry", "june")
    watched = run("plan", "watch", "june", "--timeout", "300")
    assert f"{waits}: running → succeeded" in watched.stderr
    for name in names:
        vms.assert_moved(name)
    vms.assert_nothing_else()
    assert vms.begun_at(waits) > vms.there_at(broken)
    assert min(map(vms.begun_at, rest)) > max(map(vms.there_at, shop))
    assert max(map(vms.there_at, pilot)) < min(map(vms.begun_at, shop))

    # one is given back
    back = shop[7]
    assert vms.before[back]["power_state"] == "poweredOn"
    run("plan", "rollback", "june", "--vm", back, "--yes")
    ended = run("plan", "watch", "june", "--timeout", "120", check=False)
    assert (ended.returncode, f"{COUNT - 1} of {COUNT} VMs" in ended.stderr) == (8, True)
    vms.assert_untouched(back)
    assert vms.moved() == set(names) - {back}
    vms.assert_nothing_else()

    # what became of each goes back to where it came from
    table = tmp_path / "result.csv"
    run("plan", "export", "june", "--to", str(table))
    with table.open(encoding="utf-8-sig", newline="") as file:
        told = {row["VM name"]: row for row in csv.DictReader(file)}
    assert {name: row["state"] for name, row in told.items()} == {
        name: "rolled_back" if name == back else "succeeded" for name in names
    }
    assert all(told[name]["target UUID"] == vms.lab.vm(name)["uuid"] for name in vms.moved())
    times = {name: (told[name]["started"], told[name]["ended"]) for name in names}  # in whole seconds
    assert {name: (began, ended) for name, (began, ended) in times.items() if not "" < began <= ended} == {}
    version = ask("plan", "show", "june")["version"]
    same = ask("plan", "apply", str(table), "--plan", "june")
    assert {change["change"] for change in same["differences"]} <= {"locked", "unchanged"}
    assert same["version"] == version


def moving(vms: Fleet) -> Iterator[str]:
    for state in ("queued", "running", "paused", "rolling_back"):
        yield from (item["vm_name"] for item in vms.service.json("plan", "items", "june", "--state", state))
