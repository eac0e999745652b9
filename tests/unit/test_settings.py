"""Settings: where they come from, what is refused, and that each is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import settings as module
from app.domain.errors import InvalidRequest
from app.settings import Settings, load_settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"VMFERRY_{name.upper()}", raising=False)
    monkeypatch.setattr(module, "CONFIG_FILE", tmp_path / "config.toml")


def test_defaults_are_local_and_under_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_settings()
    assert found.home == tmp_path / "var"
    assert found.database_url == f"sqlite:///{tmp_path}/var/vmferry.db"
    assert found.secret_key_file == tmp_path / "var" / "secret.key"
    assert (found.host, found.port, found.url) == ("127.0.0.1", 8080, "http://127.0.0.1:8080")
    assert found.job_folder("j1") == tmp_path / "var" / "jobs" / "j1"


def test_environment_is_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'home = "{tmp_path}/here"\nmax_jobs = 7\nlog_level = "debug"\n')
    monkeypatch.setenv("VMFERRY_MAX_JOBS", "3")
    found = load_settings()
    assert (found.home, found.max_jobs, found.log_level) == (tmp_path / "here", 3, "debug")


def test_an_ipv6_address_is_bound_without_brackets() -> None:
    found = load_settings(bind="[::1]:9000")
    assert (found.host, found.port) == ("::1", 9000)


@pytest.mark.parametrize(
    ("name", "value"),
    [("BIND", "8080"), ("BIND", "h:99999"), ("MAX_JOBS", "0"), ("ACCELERATOR", "hax"), ("LEASE_S", "x")],
)
def test_wrong_values_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"VMFERRY_{name}", value)
    with pytest.raises(InvalidRequest, match=name.lower()):
        load_settings()


def test_a_slip_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("max_job = 7\n")
    with pytest.raises(InvalidRequest, match="max_job"):
        load_settings()


def test_secrets_are_neither_shown_nor_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_TOKEN", "tok3n-value")
    monkeypatch.setenv("VMFERRY_DATABASE_URL", "postgresql://u:passw0rd@h/d")
    text = repr(load_settings())
    assert "tok3n-value" not in text
    assert "passw0rd" not in text


def test_each_setting_is_documented() -> None:
    documented = set(re.findall(r"^## VMFERRY_(\w+)$", DOCUMENT.read_text(), re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}
