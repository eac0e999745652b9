"""How the libguestfs appliance is started."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import pytest

from converters import appliance


def asked(accelerator: Literal["kvm", "tcg"], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What converters/offline.py is asked for."""
    seen = []

    class Done:
        stdout = b'{"before": {}}'

    def run(argv: list[str], *, stdin: bytes, **_: object) -> Done:
        seen.append(json.loads(stdin))
        return Done()

    monkeypatch.setattr(appliance, "run", run)
    appliance.look([], accelerator, lambda: None, lambda line: None, keys={})
    (request,) = seen
    return dict(request)


def test_emulated_it_has_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert asked("tcg", monkeypatch)["cpus"] == 1


@pytest.mark.parametrize(("here", "given"), [(1, 1), (4, 4), (64, 8)])
def test_with_kvm_it_has_those_of_the_machine(here: int, given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(here)))
    assert asked("kvm", monkeypatch)["cpus"] == given
