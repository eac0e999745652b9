"""Where the items of a plan stand, and what deciding needs to know of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, Protocol

from app.domain.plan import Item, ItemState, Plan, PlanState
from app.domain.states import JobState

MOVING = frozenset({ItemState.QUEUED, ItemState.RUNNING, ItemState.PAUSED, ItemState.ROLLING_BACK})
LOST = frozenset(  # nothing more happens to them by itself, and they have not succeeded
    {ItemState.FAILED, ItemState.CANCELLED, ItemState.ROLLED_BACK, ItemState.ROLLBACK_FAILED, ItemState.HELD}
)
FAILURES = frozenset({ItemState.FAILED, ItemState.ROLLBACK_FAILED})
ENDED = frozenset({PlanState.SUCCEEDED, PlanState.FAILED, PlanState.CANCELLED})
_GOES_AGAIN = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.ROLLED_BACK})


class Entry(NamedTuple):
    """An item as deciding needs it: short, for a plan may have 10,000."""

    key: str
    name: str  # of the VM
    state: ItemState
    place: int = 0
    wave: str = "1"
    order: int = 0
    cutover_at: datetime | None = None
    group: str = ""
    depends_on: tuple[str, ...] = ()
    unit: str = ""
    job: JobState | None = None  # of its newest job
    stopping: bool = False  # its job was asked to stop
    undone: bool = False  # its job's newest run is a rollback that somebody asked for
    forgiven: bool = False  # it failed, and that counts no longer for `stop_after`
    bytes: int = 0
    job_id: str = ""  # of its newest job


class ItemJob(Protocol):
    """What a Job and a JobSummary both have."""

    @property
    def state(self) -> JobState: ...
    @property
    def run(self) -> int: ...


def item_state(item: Item, job: ItemJob | None) -> ItemState:
    """`job` is that of `item.job`; one that is gone counts as never made."""
    return state_of(
        include=item.include,
        held=bool(item.held),
        refused=item.error is not None,
        again=item.again,
        job=job.state if job else None,
        run=job.run if job else 0,
    )


def state_of(*, include: bool, held: bool, refused: bool, again: int, job: JobState | None, run: int) -> ItemState:
    """A job that was retried by hand goes before what the plan was asked for since."""
    if not include and (job is None or job in _GOES_AGAIN):
        return ItemState.LEFT_OUT
    if job is None or (job in _GOES_AGAIN and again == run):
        if refused:
            return ItemState.FAILED
        return ItemState.HELD if held else ItemState.WAITING
    return ItemState(job)


def is_locked(state: ItemState) -> bool:
    """Whether an import leaves an item as it is: its job is under way, has succeeded, or left something over."""
    return state in MOVING or state in (ItemState.SUCCEEDED, ItemState.ROLLBACK_FAILED)


def counts(states: Iterable[ItemState]) -> dict[ItemState, int]:
    """How many of each, in the order of ItemState; what there is none of is left out."""
    found = Counter(states)
    return {state: found[state] for state in ItemState if found[state]}


def planned(entries: Iterable[Entry]) -> list[Entry]:
    """All but what is left out."""
    return [entry for entry in entries if entry.state is not ItemState.LEFT_OUT]


def wave_names(plan: Plan, entries: Iterable[Entry]) -> list[str]:
    """In the order in which they run: those of the plan, then those that only items name."""
    return list(dict.fromkeys([*(wave.name for wave in plan.waves), *(entry.wave for entry in entries)]))


def is_over(entries: Iterable[Entry]) -> bool:
    """Whether each has succeeded, or failed for good."""
    return all(entry.state is ItemState.SUCCEEDED or entry.state in LOST for entry in entries)


def vms_text(count: int) -> str:
    return "1 VM" if count == 1 else f"{count} VMs"
