"""How the libguestfs appliance is started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from converters import appliance


@pytest.mark.parametrize(("here", "given"), [(1, 1), (4, 4), (64, 8)])
def test_it_is_asked_to_have_the_cpus_of_the_machine(here: int, given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    class Done:
        stdout = b'{"before": {}}'

    def run(argv: list[str], *, stdin: bytes, **_: object) -> Done:
        seen.append(json.loads(stdin))
        return Done()

    monkeypatch.setattr(appliance, "run", run)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(here)))
    appliance.look([], "kvm", lambda: None, lambda line: None, keys={})
    assert [request["cpus"] for request in seen] == [given]


def test_emulated_it_is_started_by_our_own_command() -> None:
    command = Path(appliance.environment("tcg")["LIBGUESTFS_HV"])
    assert command.stat().st_mode & 0o111
    assert "LIBGUESTFS_HV" not in appliance.environment("kvm")
