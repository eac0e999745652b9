"""What users ask of a plan: what each verb changes, and when it is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from app.domain import plan_verbs
from app.domain.errors import Conflict, NotFound
from app.domain.plan import Gate, ItemState, Plan, PlanState, Wave
from app.domain.plan_run import Change
from app.domain.plan_state import Entry, state_of
from app.domain.plan_words import waits_for
from app.domain.states import JobState

NOW = datetime(2026, 12, 5, 22, 0, tzinfo=UTC)
WAVES = (Wave(name="1", stop_after=1), Wave(name="2", gate=Gate.MANUAL))


def plan(state: PlanState = PlanState.RUNNING, **changes: Any) -> Plan:
    fields = {"id": "p", "name": "weekend", "state": state, "waves": WAVES, "created_at": NOW, "updated_at": NOW}
    return Plan.model_validate(fields | changes)


def entry(number: int, state: ItemState = ItemState.WAITING, **changes: Any) -> Entry:
    has_job = state not in (ItemState.WAITING, ItemState.HELD, ItemState.LEFT_OUT)
    made = Entry(key=f"vc:vm-{number}", name=f"vm{number}", state=state, place=number)
    return made._replace(job=JobState(state) if has_job else None)._replace(**changes)


def key(number: int) -> str:
    return f"vc:vm-{number}"


ALL = [entry(number, state) for number, state in enumerate(ItemState)]
NUMBER = {state: number for number, state in enumerate(ItemState)}


def keys(*states: ItemState) -> set[str]:
    return {key(NUMBER[state]) for state in states}


@pytest.mark.parametrize(
    ("verb", "allowed"),
    [
        (plan_verbs.start, {"draft": "running", "running": "running"}),
        (plan_verbs.pause, {"running": "paused", "paused": "paused"}),
        (plan_verbs.resume, {"paused": "running", "running": "running"}),
        (
            plan_verbs.cancel,
            {
                "draft": "undoing",
                "running": "undoing",
                "paused": "undoing",
                "undoing": "undoing",
                "cancelled": "cancelled",
            },
        ),
        (
            plan_verbs.retry,
            {
                "running": "running",
                "paused": "running",
                "succeeded": "running",
                "failed": "running",
                "cancelled": "running",
            },
        ),
        (
            lambda plan, entries, now: plan_verbs.roll_back(plan, entries, now, confirm_data_loss=True),
            dict.fromkeys(("running", "paused", "succeeded", "failed", "cancelled", "undoing"), "undoing"),
        ),
    ],
)
def test_in_which_states_a_plan_takes_a_verb(verb: Callable[..., Change], allowed: dict[str, str]) -> None:
    for state in PlanState:
        if state in allowed:
            assert verb(plan(state), ALL, NOW).plan.state == allowed[state]
        else:
            with pytest.raises(Conflict) as caught:
                verb(plan(state), ALL, NOW)
            assert "weekend" in caught.value.message
            assert caught.value.remedy


def test_the_verbs_that_are_offered_are_taken() -> None:
    asked: dict[str, Callable[..., Change]] = {
        "start": plan_verbs.start,
        "pause": plan_verbs.pause,
        "resume": plan_verbs.resume,
        "cancel": plan_verbs.cancel,
        "retry": plan_verbs.retry,
        "rollback": partial(plan_verbs.roll_back, confirm_data_loss=True),
        "approve": partial(plan_verbs.approve, wave="2"),
    }
    for state in PlanState:
        for verb in plan_verbs.verbs(plan(state), ALL):
            change = asked[verb](plan(state), ALL, NOW)
            assert change.writes(plan(state)), (state, verb)
    assert plan_verbs.verbs(plan(PlanState.SUCCEEDED), [entry(1, ItemState.SUCCEEDED)]) == ("rollback",)
    assert plan_verbs.verbs(plan(PlanState.DRAFT, waves=()), []) == ()


def test_an_empty_plan_does_not_start() -> None:
    with pytest.raises(Conflict) as caught:
        plan_verbs.start(plan(PlanState.DRAFT), [entry(1, ItemState.LEFT_OUT)], NOW)
    assert caught.value.code == "plan_is_empty"


def test_a_resume_forgives_what_failed() -> None:
    change = plan_verbs.resume(plan(PlanState.PAUSED, reason="two failed"), ALL, NOW)
    assert (change.plan.reason, change.plan.state) == ("", PlanState.RUNNING)
    assert set(change.forgive) == keys(ItemState.FAILED, ItemState.ROLLBACK_FAILED)


def test_a_cancel_stops_what_moves_and_holds_what_waits() -> None:
    change = plan_verbs.cancel(plan(), [*ALL, entry(50, ItemState.RUNNING, stopping=True)], NOW)
    assert set(change.cancel) == keys(ItemState.QUEUED, ItemState.RUNNING, ItemState.PAUSED)
    assert change.hold == {key(NUMBER[ItemState.WAITING]): "the plan was cancelled"}
    assert not change.undo


@pytest.mark.parametrize(
    ("states", "ends_as"),
    [
        ((ItemState.WAITING, ItemState.SUCCEEDED, ItemState.FAILED), PlanState.CANCELLED),
        ((ItemState.WAITING, ItemState.ROLLBACK_FAILED), PlanState.FAILED),
        ((ItemState.WAITING, ItemState.RUNNING), PlanState.UNDOING),
    ],
)
def test_a_cancel_with_nothing_under_way_ends_the_plan(states: tuple[ItemState, ...], ends_as: PlanState) -> None:
    items = [entry(number, state) for number, state in enumerate(states)]
    assert plan_verbs.cancel(plan(), items, NOW).plan.state is ends_as


def test_a_retry_takes_what_failed_was_cancelled_or_is_held() -> None:
    change = plan_verbs.retry(plan(PlanState.FAILED, ended_at=NOW), ALL, NOW)
    assert set(change.again) == keys(ItemState.FAILED, ItemState.CANCELLED, ItemState.HELD)
    assert set(change.forgive) == keys(ItemState.ROLLBACK_FAILED)
    assert change.plan.ended_at is None


def test_a_retry_of_one_takes_its_group_and_who_is_held_for_them() -> None:
    items = [
        entry(1, ItemState.FAILED, group="a"),
        entry(2, ItemState.ROLLED_BACK, group="a"),
        entry(3, ItemState.SUCCEEDED, group="a"),
        entry(4, ItemState.HELD, depends_on=(key(2),)),
        entry(5, ItemState.HELD, depends_on=(key(4),)),
        entry(6, ItemState.HELD, depends_on=(key(7),)),
        entry(7, ItemState.FAILED),
    ]
    change = plan_verbs.retry(plan(PlanState.FAILED), items, NOW, [key(1)])
    assert set(change.again) == {key(1), key(2), key(4), key(5)}
    assert set(change.forgive) == {key(7)}


def test_a_retry_of_what_cannot_be_tried_again_is_refused() -> None:
    for state in ItemState:
        asked = [key(NUMBER[state])]
        if state in (ItemState.FAILED, ItemState.CANCELLED, ItemState.HELD, ItemState.ROLLED_BACK):
            assert set(plan_verbs.retry(plan(), ALL, NOW, asked).again) == set(asked)
        else:
            with pytest.raises((Conflict, NotFound)):
                plan_verbs.retry(plan(), ALL, NOW, asked)
    with pytest.raises(NotFound, match="vm-99"):
        plan_verbs.retry(plan(), ALL, NOW, [key(99)])
    with pytest.raises(Conflict, match="nothing"):
        plan_verbs.retry(plan(), [entry(1, ItemState.SUCCEEDED)], NOW)


def test_a_rollback_asks_before_anything_is_lost() -> None:
    with pytest.raises(Conflict, match=r"1 VM of plan weekend moved \(vm\d+\)") as caught:
        plan_verbs.roll_back(plan(), ALL, NOW)
    assert caught.value.code == "confirmation_needed"
    lost = [item for item in ALL if item.state is not ItemState.SUCCEEDED]
    change = plan_verbs.roll_back(plan(), lost, NOW)
    assert set(change.undo) == keys(ItemState.FAILED, ItemState.ROLLBACK_FAILED)


def test_a_rollback_of_a_wave_leaves_the_others() -> None:
    items = [entry(1, ItemState.SUCCEEDED), entry(2, ItemState.RUNNING, wave="2"), entry(3, wave="2"), entry(4)]
    change = plan_verbs.roll_back(plan(), items, NOW, wave="1", confirm_data_loss=True)
    assert (change.undo, change.cancel, set(change.hold)) == ([key(1)], [], {key(4)})
    assert change.plan == plan()
    assert plan_verbs.roll_back(plan(), items, NOW, confirm_data_loss=True).plan.state is PlanState.UNDOING
    with pytest.raises(NotFound, match="no wave 3"):
        plan_verbs.roll_back(plan(), items, NOW, wave="3")


def test_a_rollback_of_one_takes_its_group() -> None:
    items = [entry(1, ItemState.SUCCEEDED, group="a"), entry(2, ItemState.RUNNING, group="a"), entry(3)]
    change = plan_verbs.roll_back(plan(), items, NOW, keys=[key(2)], confirm_data_loss=True)
    assert (change.undo, change.cancel, dict(change.hold)) == ([key(1)], [key(2)], {})


def test_nothing_to_roll_back_is_said() -> None:
    with pytest.raises(Conflict, match="nothing of plan weekend"):
        plan_verbs.roll_back(plan(PlanState.CANCELLED), [entry(1, ItemState.ROLLED_BACK)], NOW)


def test_an_approval_is_given_once_and_to_a_manual_gate() -> None:
    approved = plan_verbs.approve(plan(), ALL, NOW, "2").plan
    assert approved.waves[1].approved_at == NOW
    assert plan_verbs.approve(approved, ALL, NOW + timedelta(hours=1), "2").plan == approved
    with pytest.raises(Conflict, match="needs no approval"):
        plan_verbs.approve(plan(), ALL, NOW, "1")
    with pytest.raises(NotFound):
        plan_verbs.approve(plan(), ALL, NOW, "3")


def test_what_is_added_to_a_plan_that_has_ended_waits_for_its_user() -> None:
    ended = plan(PlanState.SUCCEEDED, ended_at=NOW)
    added = plan_verbs.replanned(ended, [entry(1, ItemState.SUCCEEDED), entry(2)])
    assert (added.state, added.ended_at) == (PlanState.PAUSED, None)
    assert plan_verbs.replanned(ended, [entry(1, ItemState.SUCCEEDED)]) == ended
    assert plan_verbs.replanned(plan(), [entry(2)]) == plan()


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, ItemState.WAITING),
        ({"include": False}, ItemState.LEFT_OUT),
        ({"include": False, "job": JobState.FAILED, "run": 1}, ItemState.LEFT_OUT),
        ({"include": False, "job": JobState.RUNNING, "run": 1}, ItemState.RUNNING),
        ({"held": True}, ItemState.HELD),
        ({"refused": True}, ItemState.FAILED),
        ({"job": JobState.FAILED, "run": 1}, ItemState.FAILED),
        ({"job": JobState.FAILED, "run": 1, "again": 1}, ItemState.WAITING),
        ({"job": JobState.FAILED, "run": 2, "again": 1}, ItemState.FAILED),
        ({"job": JobState.FAILED, "run": 1, "again": 1, "held": True}, ItemState.HELD),
        ({"job": JobState.CANCELLED, "run": 1, "again": 1, "refused": True}, ItemState.FAILED),
        ({"job": JobState.RUNNING, "run": 2, "again": 2, "held": True}, ItemState.RUNNING),
        ({"job": JobState.SUCCEEDED, "run": 2, "again": 2}, ItemState.SUCCEEDED),
    ],
)
def test_where_an_item_stands(given: dict[str, Any], state: ItemState) -> None:
    plain: dict[str, Any] = {"include": True, "held": False, "refused": False, "again": 0, "job": None, "run": 0}
    assert state_of(**plain | given) is state


def test_what_is_waited_for_is_said() -> None:
    soon = NOW + timedelta(hours=1)
    items = [
        entry(1, ItemState.RUNNING),
        entry(2, depends_on=(key(1),)),
        entry(3, cutover_at=soon),
        entry(4, group="a"),
        entry(5, wave="2"),
    ]
    assert waits_for(plan(), items, NOW) == {
        key(2): "Waits for vm1.",
        key(3): "Starts at 2026-12-05 23:00 UTC.",
        key(4): "Waits for a free place for all of its group.",
        key(5): "Waits until wave 1 is over.",
    }
    assert waits_for(plan(), items[-1:], NOW) == {key(5): "Waits: wave 2 waits for its approval."}
    assert waits_for(plan(PlanState.DRAFT), items[-1:], NOW) == {key(5): "Waits: the plan has not been started."}
    assert waits_for(plan(), items[:1], NOW) == {}
