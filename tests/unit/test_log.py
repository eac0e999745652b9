"""Logs: JSON, the job on every line, and nothing secret."""

from __future__ import annotations

import json
import logging

import pytest

from app.log import configure, get_logger, job_log

SECRETS = [
    {"password": "hunter22"},
    {"data": {"list": [{"Authorization": "Bearer hunter22"}]}},
    {"headers": "Authorization: Bearer hunter22"},
    {"url": "https://user:hunter22@vc.example/sdk"},
    {"cookie_line": "vmware_soap_session=hunter22; path=/"},
    {"argv": ("tool", "password=hunter22")},
]


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_line_carries_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    with job_log("j1", step="transfer"):
        get_logger("x").info("copied", disks=2)
        logging.getLogger("other").warning("from %s", "a library")
    get_logger("x").info("later")
    first, second, third = _lines(capsys)
    assert (first["event"], first["job_id"], first["step"], first["disks"]) == ("copied", "j1", "transfer", 2)
    assert (second["event"], second["job_id"], second["level"]) == ("from a library", "j1", "warning")
    assert "job_id" not in third


@pytest.mark.parametrize("fields", SECRETS)
def test_secrets_are_redacted(capsys: pytest.CaptureFixture[str], fields: dict[str, object]) -> None:
    configure("info")
    get_logger("x").info("called", **fields)
    text = capsys.readouterr().err
    assert "hunter22" not in text
    assert "[redacted]" in text


def test_tracebacks_are_redacted_and_show_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    hidden = "a-local-variable"
    told = "hunter22"
    try:
        raise RuntimeError(f"login failed with password={told}", len(hidden))
    except RuntimeError:
        get_logger("x").exception("failed")
    text = capsys.readouterr().err
    assert "RuntimeError" in text
    assert told not in text
    assert hidden not in text
    assert text.count("\n") == 1


def test_the_level_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warning")
    get_logger("x").info("quiet")
    assert capsys.readouterr().err == ""
