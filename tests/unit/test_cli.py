"""What the command line does without a service: exit codes, output, secrets, addresses, event streams."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console
from rich.text import Text

from app.cli import client, output, passwords, watch
from app.cli.client import Client, is_loopback, reachable, read_sse
from app.cli.exits import CliError, Exit, from_ended_job, from_error, from_problem
from app.cli.migrate import HOSTDEV_HELP
from app.cli.targets import NETWORK_HELP, pairs
from app.domain.errors import Conflict, InvalidRequest, NotFound, PreflightFailed, SourceDenied, Unauthorized
from app.domain.models import Concern


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, 3), (401, 4), (403, 4), (404, 5), (409, 6), (412, 6), (422, 3), (500, 1), (503, 1)],
)
def test_each_status_has_its_exit_code(status: int, expected: int) -> None:
    error = from_problem(status, {"code": "c", "detail": "why", "hint": "do", "errors": [{"pointer": "/vm"}]})
    assert (error.exit_code, error.code, error.cause, error.hint) == (expected, "c", "why", "do")
    assert error.details == [{"pointer": "/vm"}]


def test_a_hint_that_names_a_call_becomes_one_that_names_a_command() -> None:
    assert "vmferry inventory" in from_problem(404, {"code": "vm_not_found", "hint": "POST /v1/x"}).hint


def test_an_answer_that_is_no_problem_document_is_told_by_its_status() -> None:
    assert from_problem(502, {}).code == "http_502"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidRequest("x"), 3),
        (PreflightFailed([Concern(code="c", severity="blocker", cause="x")]), 3),
        (Unauthorized("x"), 4),
        (NotFound("x"), 5),
        (Conflict("x"), 6),
        (SourceDenied("x"), 1),
    ],
)
def test_each_error_class_has_its_exit_code(error: Any, expected: int) -> None:
    assert from_error(error).exit_code == expected


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"state": "succeeded"}, None),
        ({"state": "failed", "error": {"code": "preflight_failed", "message": "x"}}, Exit.INVALID),
        ({"state": "failed", "error": {"code": "no_space", "message": "x"}}, Exit.FAILED),
        ({"state": "cancelled", "error": None}, Exit.FAILED),
        ({"state": "rollback_failed", "error": None, "leftovers": [{"what": "a"}]}, Exit.FAILED),
    ],
)
def test_a_job_that_ended_decides_the_exit_code(job: dict[str, Any], expected: Exit | None) -> None:
    error = from_ended_job({"id": "j", **job}, wanted=("succeeded",))
    assert (error and error.exit_code) == expected


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (3 << 50, "3.0 PiB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (75, "1:15"), (4000, "1:06:40")])
def test_durations_for_people(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_names_cannot_write_escapes_or_markup() -> None:
    drawn = io.StringIO()
    Console(file=drawn, width=200).print(output.table(("NAME",), [("\x1b[31m[bold]x\n\u202ey",)]))
    assert "\x1b" not in drawn.getvalue()
    assert r"\x1b[31m[bold]x\n\u202ey" in drawn.getvalue()


def test_an_error_shows_code_cause_details_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_error(
        CliError(
            Exit.INVALID, "bad", "why [bold]", "do this", details=[{"pointer": "/vm", "detail": "no", "hint": "h"}]
        )
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.strip() for line in shown.err.splitlines()] == [
        "error: why [bold] [bad]", "- /vm: no", "h", "hint: do this",
    ]  # fmt: skip


def test_network_pairs_split_at_the_last_equals_sign() -> None:
    assert pairs(["VM Network=lan", "a=b=c", "*=x"]) == {"VM Network": "lan", "a=b": "c", "*": "x"}
    for wrong in ("lan", "=lan", "lan="):
        with pytest.raises(CliError) as caught:
            pairs([wrong])
        assert caught.value.exit_code == Exit.USAGE


def test_help_loses_nothing_that_reads_as_markup() -> None:
    assert Text.from_markup(NETWORK_HELP).plain == NETWORK_HELP
    assert Text.from_markup(HOSTDEV_HELP).plain == HOSTDEV_HELP


def test_a_password_comes_from_the_first_line_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("  p w \r\nsecond\n")
    assert passwords.read_password(file, "?") == "  p w "


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_SOURCE_PASSWORD", "hidden")
    assert passwords.read_password(None, "?") == "hidden"


def test_without_terminal_file_or_variable_there_is_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VMFERRY_SOURCE_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("typed\n"))
    (tmp_path / "empty").write_text("\n")
    for file in (None, tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(CliError) as caught:
            passwords.read_password(file, "?")
        assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("bind", "expected"),
    [("127.0.0.1:80", "127.0.0.1:80"), ("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("host:1", "host:1")],
)
def test_where_a_service_is_reached_from_here(bind: str, expected: str) -> None:
    assert reachable(bind) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.9:1", True), ("http://[::1]:1", True), ("http://localhost", True), ("https://a.b", False)],
)
def test_what_is_on_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_events_of_a_stream() -> None:
    lines = iter(
        [b": hello", b"", b"id: 7", b"event: job.log", b'data: {"a":', b"data: 1}", b"", b"id: 8", b"data: {}"]
    )
    assert list(read_sse(lines)) == [("", {}), ("7", {"a": 1})]


class _Answer:
    def __init__(self, lines: list[bytes], *, cut: bool) -> None:
        self._lines = lines
        self._cut = cut

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def iter_lines(self, **_: object) -> Iterator[bytes]:
        yield from self._lines
        if self._cut:
            raise requests.exceptions.ChunkedEncodingError("cut")


def test_a_cut_stream_goes_on_after_the_last_event_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = [
        _Answer([b"id: 1", b'data: {"n": 1}', b"", b"id: 2", b'data: {"n"'], cut=True),
        _Answer([b"id: 2", b'data: {"n": 2}', b""], cut=False),
    ]

    def open_stream(_self: Client, _path: str, last: str, _quiet: float) -> _Answer:
        asked.append(last)
        return answers[len(asked) - 1]

    monkeypatch.setattr(Client, "_open_stream", open_stream)
    monkeypatch.setattr(client, "RECONNECT_S", 0.0)
    seen = []
    for event in Client("http://127.0.0.1:1", "t").events("jobs/j/events"):
        seen += [event["n"]] if event else []
        if len(seen) == 2:
            break
    assert (seen, asked) == ([1, 2], ["", "1"])


def test_a_service_that_stays_away_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RECONNECT_S", 0.0)
    monkeypatch.setattr(client, "PATIENCE_S", 0.0)
    with pytest.raises(CliError) as caught:
        list(Client("http://127.0.0.1:1", "t").events("jobs/j/events"))
    assert caught.value.code == "service_unreachable"


class _Jobs:
    """A client whose job goes through given states, one for each time it is looked at."""

    def __init__(self, states: list[str]) -> None:
        self.states = states

    def events(self, _path: str, *, deadline: float | None) -> Iterator[dict[str, Any]]:
        while deadline is None or self.states:
            yield {"kind": "job.state", "at": "2026-01-01T00:00:00Z", "message": "m"}

    def get(self, _path: str) -> dict[str, Any]:
        return {"id": "j", "state": self.states.pop(0)}


class _Silent:
    def event(self, event: Any) -> None: ...
    def update(self, job: Any) -> None: ...


def test_following_ends_with_the_job() -> None:
    jobs: Any = _Jobs(["queued", "running", "failed"])
    assert watch.follow(jobs, "j", None, _Silent())["state"] == "failed"


def test_following_ends_with_the_time() -> None:
    jobs: Any = _Jobs(["queued"])
    with pytest.raises(CliError) as caught:
        watch.follow(jobs, "j", 5, _Silent())
    assert caught.value.exit_code == Exit.TIMED_OUT


class _Paused:
    def __init__(self, states: list[str]) -> None:
        self.states = states

    def get(self, _path: str, *, wait: float) -> dict[str, Any]:
        return {"id": "j", "state": self.states.pop(0)}


def test_waiting_for_a_pause() -> None:
    jobs: Any = _Paused(["running", "paused"])
    assert watch.until_paused(jobs, {"id": "j", "state": "running"}, None)["state"] == "paused"
    for states, timeout, code in ((["failed"], None, Exit.CONFLICT), ([], 0.0, Exit.TIMED_OUT)):
        jobs = _Paused(list(states))
        with pytest.raises(CliError) as caught:
            watch.until_paused(jobs, {"id": "j", "state": "running"}, timeout)
        assert caught.value.exit_code == code


def test_totals_for_people() -> None:
    progress = {"bytes_done": 1 << 30, "bytes_skipped": 1 << 30, "bytes_total": 4 << 30, "rate": 1 << 20, "eta_s": 75}
    assert watch.totals(progress) == "2.0 GiB of 4.0 GiB, 1.0 GiB of it zeros that were skipped, 1.0 MiB/s, 1:15 left"


def test_json_is_json_on_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_json({"name": "Müller\u202e"})
    assert json.loads(capsys.readouterr().out) == {"name": "Müller\u202e"}


def test_keys_of_disks_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key=1"
    file.write_text(" pass phrase \nsecond line\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("from stdin\n"))
    given = [f"all={file}", "/dev/sda2=-"]
    assert passwords.read_disk_keys(given) == {"all": " pass phrase ", "/dev/sda2": "from stdin"}
    with pytest.raises(CliError, match="no terminal"):
        passwords.read_disk_keys(["all"])
