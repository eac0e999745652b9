"""What an export says of how a move went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.boot import Boot
from app.domain.contract import Contract
from app.domain.job import Job, SourceBefore
from app.domain.models import PowerState, Progress, StepRecord
from app.domain.move import MoveOptions
from app.domain.plan import Item
from app.domain.states import JobState
from app.sheets.outcome import Outcome, outcome

AT = datetime(2026, 12, 5, 21, tzinfo=UTC)
ITEM = Item(key="vc:vm-1", place=1, source="vc01", vm_id="vm-1", vm_name="app1", target="kvm01", job="j")


def step(name: str, begun: int, ended: int, **said: Any) -> StepRecord:
    times = {"started_at": AT + timedelta(seconds=begun), "ended_at": AT + timedelta(seconds=ended)}
    return StepRecord.model_validate({"name": name, "state": "succeeded"} | times | said)


STEPS = (step("shutdown", 0, 30), step("transfer", 30, 230), step("boot_check", 240, 300))
BOOT = Boot(kind="agent", seconds=12.5, contract=Contract(verdict="same", findings=()))


def job(**said: Any) -> Job:
    told = {
        "id": "j",
        "vm_id": "vm-1",
        "vm_name": "app1",
        "source_id": "s",
        "source_name": "vc01",
        "target_id": "t",
        "target_name": "kvm01",
        "options": MoveOptions(),
        "state": JobState.SUCCEEDED,
        "steps": STEPS,
        "boot": BOOT,
        "progress": Progress(bytes_done=10 << 30),
        "domain_uuid": "4231",
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT + timedelta(seconds=301),
    }
    return Job.model_validate(told | said)


def test_a_move_that_succeeded() -> None:
    assert outcome(ITEM, job()) == Outcome(
        state="succeeded",
        started=AT,
        ended=AT + timedelta(seconds=301),
        downtime_s=252.5,
        gib=10,
        mib_s=51.2,
        boot="seen by agent",
        contract="as it was",
        target_uuid="4231",
    )


def test_an_item_without_a_job() -> None:
    assert outcome(ITEM, None) == Outcome(state="waiting")
    assert outcome(ITEM.model_copy(update={"include": False}), None) == Outcome(state="left_out")
    held = ITEM.model_copy(update={"held": "db01 has failed"})
    assert outcome(held, None) == Outcome(state="held", error="db01 has failed")
    refused = ITEM.model_copy(update={"error": {"message": "no room.", "hint": "Make some.", "code": "x"}})
    assert outcome(refused, None) == Outcome(state="failed", error="no room. Make some.")


def test_a_move_that_failed_while_it_copied() -> None:
    error = {"message": "the pool is full.", "hint": ""}
    steps = (STEPS[0], step("transfer", 30, 90, state="failed", error=error))
    told = outcome(ITEM, job(state=JobState.FAILED, steps=steps, boot=None, error=error, domain_uuid=""))
    assert (told.state, told.error) == ("failed", "the pool is full.")
    assert (told.downtime_s, told.gib, told.mib_s, told.boot, told.contract) == (None, None, None, "", "")


@pytest.mark.parametrize(
    "said",
    [
        {"boot": Boot()},
        {"before": SourceBefore(power_state=PowerState.OFF, annotation="", seen_at=AT)},
        {"steps": STEPS[1:]},
    ],
    ids=["not seen up", "it was off", "it was not shut down"],
)
def test_no_downtime_is_made_up(said: dict[str, Any]) -> None:
    assert outcome(ITEM, job(**said)).downtime_s is None


def test_a_guest_that_did_not_come_up_says_how_far_it_came() -> None:
    assert outcome(ITEM, job(boot=Boot())).boot == "came to nothing"
    kernel = Boot().model_copy(
        update={"rungs": tuple(r.model_copy(update={"state": "reached"}) for r in Boot().rungs[:4])}
    )
    assert outcome(ITEM, job(boot=kernel)).boot == "came to kernel"


def test_what_was_rolled_back_is_still_told() -> None:
    undone = tuple(each.model_copy(update={"state": "undone"}) for each in STEPS)
    told = outcome(ITEM, job(state=JobState.ROLLED_BACK, steps=undone))
    assert (told.state, told.gib, told.downtime_s) == ("rolled_back", 10, 252.5)
