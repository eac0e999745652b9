"""What happens next to a plan: in a world that does as it likes, each rule holds, and is missed when it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import plan_run
from app.domain.plan import ItemState, Plan, Wave
from app.domain.plan_state import ENDED, Entry
from tests.unit.plan_world import Broken, run


@given(seed=st.integers(min_value=0), by_hand=st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_rule_holds_whatever_happens(seed: int, by_hand: bool) -> None:
    world = run(seed, by_hand=by_hand)
    assert world.plan.state in ENDED


def _yes(*_: Any) -> bool:
    return True


def _no(*_: Any) -> bool:
    return False


def _all_that_wait(plan: Plan, items: list[Entry]) -> list[Wave]:
    waiting = {entry.wave for entry in items if entry.state is ItemState.WAITING}
    return [wave for wave in plan.waves if wave.name in waiting]


def _many_runs() -> None:
    for seed in range(500):
        run(seed)


@pytest.mark.parametrize(
    ("name", "instead", "rules"),
    [
        ("_fits", _yes, {"at_once is obeyed"}),
        ("_time_has_come", _yes, {"nothing starts before its cutover"}),
        ("_is_ready", _yes, {"nothing starts before what it depends on"}),
        ("_has_begun", _yes, {"nothing starts before its wave"}),
        ("_has_ended", _no, {"nothing starts after its window"}),
        ("_gate_is_open", _yes, {"gates are obeyed"}),
        ("_too_many_failures", lambda *_: "", {"stop_after is obeyed"}),
        ("broken", lambda _items: ([], []), {"groups move whole or not at all"}),
        ("units", lambda waiting: [[entry] for entry in waiting], {"groups start together"}),
        ("hopeless", lambda *_: {}, {"every plan ends", "groups move whole or not at all"}),
        ("open_waves", _all_that_wait, {"waves run in order"}),
        ("is_over", _no, {"every plan ends"}),
        ("undone", lambda plan, *_: plan, {"every plan ends"}),
    ],
)
def test_a_rule_that_is_taken_away_is_missed(
    monkeypatch: pytest.MonkeyPatch, name: str, instead: Any, rules: set[str]
) -> None:
    monkeypatch.setattr(plan_run, name, instead)
    with pytest.raises(Broken) as broken:
        _many_runs()
    assert broken.value.args[0] in rules
