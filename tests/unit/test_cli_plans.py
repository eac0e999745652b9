"""The commands of plans against answers that are written down here: what they ask, print, and end with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console

from app.cli import client, main, plan_watch
from app.cli.client import Client
from app.cli.exits import Exit
from app.cli.plan_sheets import XLSX

PROBLEM = {
    "place": "Plan!I14",
    "severity": "error",
    "code": "pool_unknown",
    "cause": 'pool "nvme1" is not on kvm03; pools there: default, ssd',
    "fix": 'Did you mean "nvme01"?',
}
REPORT = {
    "plan": "june",
    "kind": "plan",
    "rows": 2,
    "problems": [],
    "differences": [
        {"key": "a:vm-1", "vm_name": "web", "change": "changed", "place": "Plan!2", "fields": {"wave": ["1", "2"]}},
        {"key": "a:vm-2", "vm_name": "db", "change": "unchanged", "place": "Plan!3", "fields": {}},
    ],
    "vms": 2,
    "bytes": 3 << 30,
    "seconds": 75,
    "waves": [
        {"name": "1", "vms": 2, "bytes": 3 << 30, "seconds": 75, "starts_at": None, "ends_at": None, "fits": True}
    ],
    "pools": [{"target": "kvm", "pool": "ssd", "needed_bytes": 3 << 30, "free_bytes": 1 << 30, "fits": False}],
    "version": 1,
}


def plan(state: str = "running", **counts: int) -> dict[str, Any]:
    return {
        "name": "june",
        "state": state,
        "reason": "",
        "version": 1,
        "counts": counts,
        "bytes_done": 1 << 30,
        "bytes_total": 3 << 30,
        "bytes_skipped": 0,
        "rate": None,
        "eta_s": None,
        "next_cutover_at": None,
        "needs_human": ["approve wave 2"],
        "next_action": "wait",
        "waves": [
            {
                "name": "[bold]1",
                "state": "running",
                "starts_at": "2026-12-05T22:00:00Z",
                "ends_at": None,
                "gate": "all_green",
                "counts": counts,
            }
        ],
    }


def item(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "key": f"a:vm-{number}",
        "vm_id": f"vm-{number}",
        "vm_uuid": "",
        "vm_name": name,
        "wave": "1",
        "source": "vc",
        "target": "kvm",
        "bytes": 1 << 30,
        "state": "waiting",
        "group": "",
        "job": None,
        "next_action": "",
        **more,
    }


class Fake:
    """A service that answers what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, _session: requests.Session, method: str, url: str, **given: Any) -> requests.Response:
        call = f"{method} {url.removeprefix('http://127.0.0.1:1/v1/')}"
        self.asked.append((call, given))
        status, body = self.answers.get(call, (404, {"code": "not_found", "detail": f"no {call}"}))
        answer = requests.Response()
        answer.status_code = status
        answer._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return answer

    def given(self, call: str) -> dict[str, Any]:
        """What the last such call was given."""
        return [given for asked, given in self.asked if asked == call][-1]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(requests.Session, "request", lambda session, *args, **given: fake(session, *args, **given))
    monkeypatch.setenv("VMFERRY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("VMFERRY_TOKEN", "t")
    return fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vmferry", "plan", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    file = tmp_path / "june.xlsx"
    file.write_bytes(b"PK")
    return file


def test_a_check_says_what_is_wrong_by_cell_and_ends_with_3(service: Fake, run: Run, sheet: Path) -> None:
    service.answers["POST imports"] = (200, {**REPORT, "problems": [PROBLEM]})
    code, out, err = run("check", str(sheet), "--source", "vc")
    assert code == Exit.INVALID
    assert out.splitlines()[:2] == [
        'error Plan!I14: pool "nvme1" is not on kvm03; pools there: default, ssd',
        '  Did you mean "nvme01"?',
    ]
    assert "3.0 GiB" in out
    assert "1 error" in err
    given = service.given("POST imports")
    assert given["data"] == b"PK"
    assert given["params"] == {"filename": "june.xlsx", "source": "vc", "dry_run": "true"}


def test_a_check_of_what_is_only_doubtful_ends_with_0(service: Fake, run: Run, sheet: Path) -> None:
    service.answers["POST imports"] = (200, {**REPORT, "problems": [{**PROBLEM, "severity": "warning", "fix": ""}]})
    code, out, _ = run("check", str(sheet))
    assert (code, out.splitlines()[0][:18]) == (0, "warning Plan!I14: ")


def test_a_check_writes_the_rows_with_their_faults(service: Fake, run: Run, sheet: Path, tmp_path: Path) -> None:
    service.answers["POST imports"] = (200, REPORT)
    marked = tmp_path / "marked.xlsx"
    assert run("check", str(sheet), "--annotated", str(marked))[0] == 0
    assert service.given("POST imports")["headers"]["Accept"] == XLSX
    assert json.loads(marked.read_text()) == REPORT  # whatever came


def test_an_import_that_is_refused_names_the_cells(service: Fake, run: Run, sheet: Path) -> None:
    fault = {"cell": "Plan!I14", "detail": PROBLEM["cause"], "hint": PROBLEM["fix"]}
    service.answers["POST imports"] = (422, {"code": "invalid_sheet", "detail": "one error", "errors": [fault]})
    code, out, err = run("import", str(sheet), "--plan", "june")
    assert (code, out) == (Exit.INVALID, "")
    assert f"- Plan!I14: {PROBLEM['cause']}" in err
    assert str(PROBLEM["fix"]) in err


def test_a_plan_that_exists_is_not_imported_over(service: Fake, run: Run, sheet: Path) -> None:
    service.answers["POST imports"] = (409, {"code": "plan_exists", "detail": "there is a plan june"})
    code, _, err = run("import", str(sheet), "--plan", "june")
    assert code == Exit.CONFLICT
    assert "vmferry plan apply" in err


def test_an_import_shows_what_was_planned(service: Fake, run: Run, sheet: Path) -> None:
    service.answers["POST imports"] = (201, REPORT)
    code, out, _ = run("import", str(sheet), "--plan", "june")
    assert code == 0
    assert "NO" in out  # the pool is too small
    assert "0 added, 1 changed, 1 unchanged, 0 locked, 0 missing" in out
    assert json.loads(run("import", str(sheet), "--plan", "june", "-o", "json")[1]) == REPORT


def test_a_difference_is_shown_field_by_field(service: Fake, run: Run, sheet: Path) -> None:
    service.answers["POST imports"] = (200, REPORT)
    service.answers["GET plans/june"] = (200, plan())
    code, out, _ = run("diff", str(sheet), "--plan", "june", "--remove-missing")
    assert code == 0
    assert "wave: 1 → 2" in out
    assert "db" not in out
    asked = {"filename": "june.xlsx", "plan": "june", "remove_missing": "true", "dry_run": "true"}
    assert service.given("POST imports")["params"] == asked
    assert run("diff", str(sheet), "--plan", "jume")[0] == Exit.NOT_FOUND


def test_applying_changes_a_plan_that_exists(service: Fake, run: Run, sheet: Path) -> None:
    service.answers["POST imports"] = (200, REPORT)
    assert run("apply", str(sheet), "--plan", "june")[0] == 0
    asked = {"filename": "june.xlsx", "plan": "june", "update": "true"}
    assert service.given("POST imports")["params"] == asked


def test_a_document_is_put(service: Fake, run: Run, tmp_path: Path) -> None:
    service.answers["PUT plans/june%20%2F%201"] = (201, REPORT)
    file = tmp_path / "june.json"
    file.write_text('{"items": []}')
    assert run("apply", str(file), "--plan", "june / 1")[0] == 0
    given = service.given("PUT plans/june%20%2F%201")
    assert (given["json"], given["params"]) == ({"items": []}, {})
    assert run("check", str(file), "--plan", "june / 1")[0] == 0
    assert service.given("PUT plans/june%20%2F%201")["params"] == {"dry_run": "true"}
    assert run("check", str(file))[0] == Exit.USAGE
    assert run("import", str(file), "--plan", "june")[0] == Exit.USAGE
    file.write_text("{")
    assert run("apply", str(file), "--plan", "june")[0] == Exit.INVALID


def test_files_that_cannot_be_read_or_written(
    service: Fake, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", str(tmp_path / "none.xlsx"))[0] == Exit.USAGE
    large = tmp_path / "large.xlsx"
    with large.open("wb") as file:
        file.truncate((50 << 20) + 1)
    assert run("check", str(large))[0] == Exit.INVALID
    assert service.asked == []
    service.answers["GET plans/june/export"] = (200, b"PK")
    assert run("export", "june", "-o", str(tmp_path / "none" / "x.xlsx"))[0] == Exit.FAILED


def test_a_plan_is_written_as_its_ending_says(service: Fake, run: Run, tmp_path: Path) -> None:
    service.answers["GET plans/june/export"] = (200, b"PK")
    service.answers["GET plans/template"] = (200, b"PK")
    assert run("export", "june", "-o", str(tmp_path / "june.CSV"))[0] == 0
    assert service.given("GET plans/june/export")["params"] == {"format": "csv"}
    assert (tmp_path / "june.CSV").read_bytes() == b"PK"
    assert run("export", "june", "-o", str(tmp_path / "june.ods"))[0] == Exit.USAGE
    code, out, _ = run("template", "-o", str(tmp_path / "t.xlsx"), "--source", "vc", "--output", "json")
    assert (code, json.loads(out)["bytes"]) == (0, 2)
    assert service.given("GET plans/template")["params"] == {"source": "vc"}


def test_a_plan_is_shown_with_what_somebody_has_to_do(service: Fake, run: Run) -> None:
    service.answers["GET plans/june"] = (200, plan(running=2, waiting=1))
    _, out, _ = run("show", "june")
    for words in ("2 running, 1 waiting", "! approve wave 2", "[bold]1", "all green", "2026-12-05 22:00:00"):
        assert words in out
    service.answers["GET plans"] = (200, {"items": [plan()]})
    assert "june" in run("list")[1]


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel", "retry"])
def test_verbs_ask_for_what_they_are_called(service: Fake, run: Run, verb: str) -> None:
    service.answers[f"POST plans/june/{verb}"] = (202, plan())
    assert run(verb, "june")[0] == 0
    assert service.given(f"POST plans/june/{verb}")["json"] == {}


def test_a_gate_is_opened_by_the_name_of_its_wave(service: Fake, run: Run) -> None:
    service.answers["POST plans/june/approve"] = (202, plan())
    assert run("approve", "june", "2")[0] == 0
    assert service.given("POST plans/june/approve")["json"] == {"wave": "2"}


def test_some_vms_are_named_by_key_id_or_name(service: Fake, run: Run) -> None:
    service.answers["GET plans/june/items"] = (200, {"items": [item(1, "web"), item(2, "db"), item(3, "db")]})
    service.answers["POST plans/june/retry"] = (202, plan())
    assert run("retry", "june", "--vm", "web", "--vm", "a:vm-2", "--vm", "vm-3")[0] == 0
    assert service.given("POST plans/june/retry")["json"] == {"items": ["a:vm-1", "a:vm-2", "a:vm-3"]}
    assert run("retry", "june", "--vm", "db")[0] == Exit.CONFLICT
    assert run("retry", "june", "--vm", "none")[0] == Exit.NOT_FOUND


def test_a_rollback_asks_only_where_something_is_lost(service: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    service.answers["GET plans/june/items"] = (200, {"items": [item(1, "web", state="succeeded")]})
    service.answers["POST plans/june/rollback"] = (202, plan())
    code, _, err = run("rollback", "june", "--wave", "1")
    assert code != 0
    assert "will be lost" in err
    assert "POST plans/june/rollback" not in [call for call, _ in service.asked]
    assert run("rollback", "june", "--wave", "1", "--yes")[0] == 0
    assert service.given("POST plans/june/rollback")["json"] == {"wave": "1", "confirm_data_loss": True}
    service.answers["GET plans/june/items"] = (200, {"items": [item(1, "web", state="failed")]})
    assert run("rollback", "june")[0] == 0
    assert service.given("POST plans/june/rollback")["json"] == {"confirm_data_loss": False}


def test_a_rollback_of_one_asks_for_its_group_too(service: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    items = [
        item(1, "web", state="failed", group="g"),
        item(2, "db", state="succeeded", group="g"),
        item(3, "other", state="succeeded"),
    ]
    service.answers["GET plans/june/items"] = (200, {"items": items})
    service.answers["POST plans/june/rollback"] = (202, plan())
    code, _, err = run("rollback", "june", "--vm", "web")
    assert (code, "1 of these VMs have been moved" in err) == (0, True)
    assert service.given("POST plans/june/rollback")["json"] == {"items": ["a:vm-1"], "confirm_data_loss": True}


def test_a_start_can_be_tried(service: Fake, run: Run) -> None:
    service.answers["POST plans/june/start"] = (
        200,
        {**plan("draft"), "would_start": [{"id": "a:vm-1", "name": "web"}]},
    )
    _, out, _ = run("start", "june", "--dry-run")
    assert "would start now: web" in out
    assert service.given("POST plans/june/start")["params"] == {"dry_run": "true"}


def events(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    def told(_self: Client, _path: str, *, deadline: float | None) -> Iterator[dict[str, Any]]:
        for kind in kinds:
            yield {"kind": kind, "at": "2026-01-01T00:00:00Z", "message": f"said {kind}"}

    monkeypatch.setattr(client.Client, "events", told)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"succeeded": 3, "left_out": 2}, Exit.OK),
        ({"succeeded": 1, "failed": 2}, Exit.PARTIAL),
        ({"failed": 3}, Exit.FAILED),
    ],
)
def test_a_plan_that_ended_decides_the_exit_code(
    service: Fake, run: Run, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], expected: Exit
) -> None:
    service.answers["GET plans/june"] = (200, plan("failed" if "failed" in counts else "succeeded", **counts))
    service.answers["GET plans/june/items"] = (200, {"items": []})
    events(monkeypatch, "job.progress", "job.state", "plan.state")
    code, out, err = run("watch", "june")
    assert code == expected
    assert "june" in out
    assert "said job.progress" not in err


def test_watching_ends_with_the_time(service: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    service.answers["GET plans/june"] = (200, plan("running", running=1))
    service.answers["GET plans/june/items"] = (200, {"items": [item(1, "web")]})
    events(monkeypatch, "plan.state")
    assert run("watch", "june", "--timeout", "1")[0] == Exit.TIMED_OUT


def test_what_is_undone_after_the_end_is_waited_for() -> None:
    assert not plan_watch.over({"plan": plan("succeeded", succeeded=1, rolling_back=1)})
    assert not plan_watch.over({"plan": plan("paused", failed=1)})
    assert plan_watch.over({"plan": plan("succeeded", succeeded=1, rolled_back=1)})


def test_a_log_says_what_somebody_has_to_do() -> None:
    assert plan_watch._progress({"plan": plan("running", succeeded=3)}).endswith("; approve wave 2")


def test_the_picture_has_a_bar_for_each_wave_and_each_vm_that_moves() -> None:
    job = {"phase": "transfer", "progress": {"bytes_done": 1 << 20, "bytes_skipped": 0, "bytes_total": 4 << 20}}
    shown = {"plan": plan(running=1, succeeded=3), "moving": [item(1, "\x1b[31mweb", job=job), item(2, "db")]}
    drawn = io.StringIO()
    console = Console(file=drawn, width=200)
    for part in plan_watch._picture(shown):
        console.print(part)
    text = drawn.getvalue()
    for words in ("3 of 4", "! approve wave 2", "25 %", "transfer", "1.0 MiB of 4.0 MiB", "\\x1b[31mweb", "[bold]1"):
        assert words in text
