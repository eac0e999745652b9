"""The saga's order of steps and undos, with actions that only take notes."""

from __future__ import annotations

from typing import Any

import pytest

from workers.workflow import make_saga

STEPS = ["preflight", "shutdown", "transfer", "verify_copy", "convert", "define", "boot_check", "finalise"]


class Notes:
    def __init__(self, fails: str = "", cancelled: bool = False, unchanged: bool | None = True, left: str = "") -> None:
        self.said: list[str] = []
        self.ended: tuple[dict[str, Any], list[dict[str, Any]]] | None = None
        self._fails, self._cancelled, self._unchanged, self._left = fails, cancelled, unchanged, left

    def do(self, job_id: str, step: str) -> dict[str, Any]:
        self.said.append(step)
        if step != self._fails:
            return {}
        return {"error": {"code": "x"}} | ({"cancelled": True} if self._cancelled else {})

    def undo(self, job_id: str, step: str) -> list[dict[str, Any]]:
        self.said.append(f"-{step}")
        return [{"what": step}] if step == self._left else []

    def look_at_source(self, job_id: str) -> dict[str, Any]:
        away = {"error": {"code": "away"}, "cancelled": self._cancelled}
        return away if self._unchanged is None else {"unchanged": self._unchanged}

    def begin_undo(self, job_id: str) -> None:
        self.said.append("undo")

    def succeed(self, job_id: str) -> None:
        self.said.append("succeeded")

    def end(self, job_id: str, outcome: dict[str, Any], leftovers: list[dict[str, Any]]) -> None:
        self.ended = (outcome, leftovers)


def run(notes: Notes, **spec: Any) -> Notes:
    spec = {"job": "j", "purpose": "move", "steps": STEPS, "finished": [], "hold": False} | spec
    make_saga(notes)(lambda name, function: function(), spec)
    return notes


def test_all_steps_in_order() -> None:
    notes = run(Notes())
    assert notes.said == [*STEPS, "succeeded"]
    assert notes.ended is None


@pytest.mark.parametrize("index", range(len(STEPS)))
def test_a_failure_undoes_what_was_begun_in_reverse(index: int) -> None:
    notes = run(Notes(fails=STEPS[index]))
    begun = STEPS[: index + 1]
    assert notes.said == [*begun, "undo", *(f"-{step}" for step in reversed(begun))]
    assert notes.ended == ({"error": {"code": "x"}}, [])


def test_hold_undoes_only_the_failed_step() -> None:
    notes = run(Notes(fails="convert"), hold=True)
    assert notes.said == ["preflight", "shutdown", "transfer", "verify_copy", "convert", "-convert"]
    assert notes.ended == ({"error": {"code": "x"}}, [])


def test_hold_does_not_keep_a_copy_that_is_not_verified() -> None:
    notes = run(Notes(fails="verify_copy"), hold=True)
    assert notes.said == ["preflight", "shutdown", "transfer", "verify_copy", "-verify_copy", "-transfer"]


def test_hold_leaves_the_source_as_a_failed_shutdown_left_it() -> None:
    assert run(Notes(fails="shutdown"), hold=True).said == ["preflight", "shutdown"]


def test_hold_keeps_what_a_failed_transfer_has_copied() -> None:
    """Its journal knows what is on the target: a retry goes on there."""
    assert run(Notes(fails="transfer"), hold=True).said == ["preflight", "shutdown", "transfer"]


def test_a_cancel_rolls_back_even_where_a_failure_would_hold() -> None:
    notes = run(Notes(fails="convert", cancelled=True), hold=True)
    assert notes.said[5:] == ["undo", "-convert", "-verify_copy", "-transfer", "-shutdown", "-preflight"]


def test_a_retry_of_a_held_job_goes_on_at_the_first_unfinished_step() -> None:
    finished = ["preflight", "shutdown", "transfer", "verify_copy"]
    assert run(Notes(), finished=finished).said == ["convert", "define", "boot_check", "finalise", "succeeded"]


def test_a_retry_copies_again_when_the_source_ran_meanwhile() -> None:
    notes = run(Notes(unchanged=False), finished=["preflight", "shutdown", "transfer"])
    assert notes.said == ["-transfer", "-preflight", *STEPS, "succeeded"]


def test_a_retry_that_cannot_reach_the_source_fails_and_keeps_the_copy() -> None:
    notes = run(Notes(unchanged=None), finished=["preflight", "shutdown", "transfer", "verify_copy"], hold=True)
    assert notes.said == []
    assert notes.ended == ({"error": {"code": "away"}, "cancelled": False}, [])


def test_a_cancel_while_looking_at_the_source_undoes_what_was_held() -> None:
    notes = run(Notes(unchanged=None, cancelled=True), finished=["preflight", "shutdown", "transfer"], hold=True)
    assert notes.said == ["undo", "-transfer", "-shutdown", "-preflight"]


def test_a_rollback_after_the_end_undoes_everything() -> None:
    notes = run(Notes(), purpose="rollback")
    assert notes.said == ["undo", *(f"-{step}" for step in reversed(STEPS))]
    assert notes.ended == ({}, [])


def test_what_is_left_over_does_not_stop_the_other_undos() -> None:
    notes = run(Notes(fails="finalise", left="define"))
    assert notes.said[-1] == "-preflight"
    assert notes.ended == ({"error": {"code": "x"}}, [{"what": "define"}])
