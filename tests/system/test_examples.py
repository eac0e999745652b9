"""The examples that move the VMs of a sheet: each moves its twenty, is run again, and changes nothing then."""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.service import ROOT
from tests.system.fleet import Fleet, fleet

EXAMPLES = ROOT / "examples"
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def vms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("examples"), 40, "sheet") as vms:
        yield vms


def sheet(file: Path, names: Sequence[str], **more: str) -> Path:
    with file.open("w", newline="") as opened:
        rows = csv.DictWriter(opened, ["VM name", "source", "target", "strategy", *more], delimiter=";")
        rows.writeheader()
        rows.writerows({"VM name": n, "source": "vc", "target": "kvm", "strategy": "disk_only", **more} for n in names)
    return file


def run(vms: Fleet, folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **vms.service.environment,
        "VMFERRY_URL": vms.url,
        "VMFERRY_TOKEN_FILE": str(vms.service.home / "token"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "ansible" / "tmp"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    return subprocess.run(
        list(map(str, words)), cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip


def states(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return [row["state"] for row in csv.DictReader(opened)]


def test_a_shell_script_moves_the_vms_of_a_sheet(vms: Fleet, tmp_path: Path) -> None:
    names = vms.names[:20]
    script, plan = EXAMPLES / "move-a-sheet.sh", sheet(tmp_path / "shell.csv", names)
    done = run(vms, tmp_path, script, plan, "shell")
    assert done.returncode == 0, done.stderr
    for name in names:
        vms.assert_moved(name)
    assert states(tmp_path / "shell-result.csv") == ["succeeded"] * 20
    again = run(vms, tmp_path, script, plan, "shell")
    assert again.returncode == 0, again.stderr
    assert "0 added, 0 changed" in again.stdout
    wrong = run(vms, tmp_path, script, sheet(tmp_path / "wrong.csv", vms.names[:1], pool="nvme1"), "wrong")
    assert wrong.returncode == 3
    assert "E2" in wrong.stderr


def test_a_playbook_moves_the_vms_of_a_sheet_once(vms: Fleet, tmp_path: Path) -> None:
    names = vms.names[20:]
    plan = sheet(tmp_path / "ansible.csv", names)

    def play(*more: str) -> tuple[int, int, str]:
        """Exit code, how many tasks changed something, what was said."""
        playbook = EXAMPLES / "move-a-sheet.yml"
        done = run(vms, tmp_path, "ansible-playbook", playbook, "-e", f"sheet={plan.name}", "-e", "plan=ansible", *more)
        changed = re.search(r"changed=(\d+)", done.stdout)
        assert changed, done.stdout + done.stderr
        return done.returncode, int(changed[1]), done.stdout

    code, changed, said = play()
    assert (code, changed) == (0, 3), said
    for name in names:
        vms.assert_moved(name)
    assert states(tmp_path / "ansible-result.csv") == ["succeeded"] * 20
    code, changed, said = play()
    assert (code, changed) == (0, 0), said
    plan = sheet(tmp_path / "wrong.csv", vms.names[:1], pool="nvme1")
    code, _, said = play("-e", "plan=wrong")
    assert code == 2
    assert "nvme1" in said
