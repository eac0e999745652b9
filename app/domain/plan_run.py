"""What happens next to a plan: a pure function of the plan, where its items stand, and the time.

Nothing is remembered between two looks, so that a worker that dies, several that look at the same time and whatever
users do to jobs by hand need no rules of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from app.domain.plan import Gate, ItemState, Plan, PlanState, Wave
from app.domain.plan_hold import hopeless, units
from app.domain.plan_state import ENDED, FAILURES, MOVING, Entry, is_over, planned, vms_text, wave_names

_BREAKS_UNIT = frozenset({ItemState.FAILED, ItemState.CANCELLED, ItemState.ROLLBACK_FAILED})


class Wait(NamedTuple):
    """Why nothing of a wave is started. All but `begins` last until somebody acts."""

    cause: Literal["approval", "green", "begins", "ended"]
    text: str


@dataclass(frozen=True)
class Change:
    """What is to be written in one transaction. All but `plan` and `start` is about keys of items.

    `start`: what of each tuple starts together or not at all, in this order.
    """

    plan: Plan
    hold: Mapping[str, str] = field(default_factory=dict)  # → why
    again: Collection[str] = ()  # shall be started anew: no longer held, refused or bound to a unit
    forgive: Collection[str] = ()  # their failure no longer counts for `stop_after`
    cancel: Collection[str] = ()  # their jobs are under way
    undo: Collection[str] = ()  # their jobs have ended
    start: Sequence[tuple[str, ...]] = ()

    def writes(self, before: Plan) -> bool:
        """Whether there is anything to write beside what is to be started."""
        return self.plan != before or bool(self.hold or self.again or self.forgive or self.cancel or self.undo)


def decide(plan: Plan, entries: Iterable[Entry], now: datetime, free: int) -> Change:
    """`free`: how many jobs could begin at once now; a unit that begins may take more than are left."""
    items = planned(entries)
    if plan.state in ENDED:
        plan = _reopened(plan, items)
    if plan.state in ENDED or plan.state is PlanState.DRAFT:
        return Change(plan)
    cancel, undo = broken(items)
    if plan.state is PlanState.UNDOING:
        return Change(plan if cancel or undo else undone(plan, items, now), cancel=cancel, undo=undo)
    hold = hopeless(plan, items)
    items = [entry._replace(state=ItemState.HELD) if entry.key in hold else entry for entry in items]
    if not cancel and not undo and is_over(items):
        good = all(entry.state is ItemState.SUCCEEDED for entry in items)
        state = PlanState.SUCCEEDED if good else PlanState.FAILED
        return Change(with_changes(plan, state=state, reason="", ended_at=now), hold)
    if plan.state is PlanState.RUNNING and (why := _too_many_failures(plan, items)):
        plan = with_changes(plan, state=PlanState.PAUSED, reason=why)
    if plan.state is PlanState.PAUSED:
        return Change(plan, hold, cancel=cancel, undo=undo)
    start: list[tuple[str, ...]] = []
    waits, begun = [], set()
    for wave in open_waves(plan, items):
        if wait := wave_waits(plan, wave, items, now):
            waits.append(wait.text)
        elif found := _units_to_start(wave, items, now, free - sum(len(unit) for unit in start)):
            start += found
            begun.add(wave.name)
    plan = with_changes(plan, reason="; ".join(waits), waves=tuple(_opened(wave, begun, now) for wave in plan.waves))
    return Change(plan, hold, cancel=cancel, undo=undo, start=start)


def next_moment(plan: Plan, entries: Iterable[Entry], now: datetime) -> datetime | None:
    """When time alone may change what is decided."""
    times = [moment for wave in plan.waves for moment in (wave.starts_at, wave.ends_at)]
    times += [entry.cutover_at for entry in entries if entry.state is ItemState.WAITING]
    return min((moment for moment in times if moment is not None and moment > now), default=None)


def open_waves(plan: Plan, items: Sequence[Entry]) -> list[Wave]:
    """Those that are not over, and are the first such or have begun: what goes again of a wave stops no later one."""
    by_wave = _by_wave(items)
    found: list[Wave] = []
    for name in wave_names(plan, items):
        wave = plan.wave(name) or Wave(name=name)
        if not is_over(by_wave[name]) and (not found or wave.open_since):
            found.append(wave)
    return found


def wave_waits(plan: Plan, wave: Wave, items: Sequence[Entry], now: datetime) -> Wait | None:
    """None where something of a wave may be started, or where nothing of it waits."""
    waiting = sum(entry.wave == wave.name and entry.state is ItemState.WAITING for entry in items)
    if not waiting:
        return None
    if wave.open_since is None and not _gate_is_open(plan, wave, items):
        if wave.gate is Gate.MANUAL:
            return Wait("approval", f"wave {wave.name} waits for its approval")
        red = vms_text(len(_red_before(plan, wave, items)))
        return Wait("green", f"wave {wave.name} waits until all before it has succeeded, and {red} did not")
    if not _has_begun(wave, now):
        return Wait("begins", f"wave {wave.name} starts at {time_text(wave.starts_at)}")
    if _has_ended(wave, now):
        ended = time_text(wave.ends_at)
        return Wait("ended", f"the window of wave {wave.name} ended at {ended} with {vms_text(waiting)} of it left")
    return None


def failures(items: Iterable[Entry], wave: str) -> list[Entry]:
    """Those of a wave that count for its `stop_after`."""
    return [entry for entry in items if entry.wave == wave and entry.state in FAILURES and not entry.forgiven]


def broken(items: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Of units of which one has failed for good: whom to cancel, and whom to roll back.

    What a user rolled back breaks no unit: the others may be in use since.
    """
    fallen = {entry.unit for entry in items if entry.unit and entry.state in _BREAKS_UNIT and not entry.undone}
    others = [entry for entry in items if entry.unit in fallen]
    cancel = [entry.key for entry in others if can_be_cancelled(entry)]
    return cancel, [entry.key for entry in others if entry.state is ItemState.SUCCEEDED]


def can_be_cancelled(entry: Entry) -> bool:
    return entry.state in MOVING and entry.state is not ItemState.ROLLING_BACK and not entry.stopping


def _too_many_failures(plan: Plan, items: Sequence[Entry]) -> str:
    """Why a plan of which something still waits is to be paused."""
    if not any(entry.state is ItemState.WAITING for entry in items):
        return ""
    for wave in plan.waves:
        if wave.stop_after and len(failed := failures(items, wave.name)) >= wave.stop_after:
            return f"{vms_text(len(failed))} of wave {wave.name} failed, and it stops after {wave.stop_after}"
    return ""


def _units_to_start(wave: Wave, items: Sequence[Entry], now: datetime, free: int) -> Sequence[tuple[str, ...]]:
    """In their order. The first that is ready and does not fit keeps its place: none that comes after overtakes it."""
    done = {entry.key for entry in items if entry.state is ItemState.SUCCEEDED}
    mine = [entry for entry in items if entry.wave == wave.name]
    moving = sum(entry.state in MOVING for entry in mine)
    start: list[tuple[str, ...]] = []
    for unit in units(entry for entry in mine if entry.state is ItemState.WAITING):
        if free <= 0:
            break
        if not all(_time_has_come(entry, now) and _is_ready(entry, done) for entry in unit):
            continue
        if not _fits(wave, moving, len(unit)):
            break
        start.append(tuple(entry.key for entry in unit))
        moving += len(unit)
        free -= len(unit)
    return start


def _fits(wave: Wave, moving: int, count: int) -> bool:
    return wave.at_once is None or moving + count <= wave.at_once


def _time_has_come(entry: Entry, now: datetime) -> bool:
    return entry.cutover_at is None or now >= entry.cutover_at


def _is_ready(entry: Entry, done: Collection[str]) -> bool:
    return all(key in done for key in entry.depends_on)


def _has_begun(wave: Wave, now: datetime) -> bool:
    return wave.starts_at is None or now >= wave.starts_at


def _has_ended(wave: Wave, now: datetime) -> bool:
    return wave.ends_at is not None and now >= wave.ends_at


def _gate_is_open(plan: Plan, wave: Wave, items: Sequence[Entry]) -> bool:
    match wave.gate:
        case Gate.NONE:
            return True
        case Gate.MANUAL:
            return wave.approved_at is not None
        case Gate.ALL_GREEN:
            return not _red_before(plan, wave, items)


def _red_before(plan: Plan, wave: Wave, items: Sequence[Entry]) -> list[Entry]:
    names = wave_names(plan, items)
    before = set(names[: names.index(wave.name)])
    return [entry for entry in items if entry.wave in before and entry.state is not ItemState.SUCCEEDED]


def _reopened(plan: Plan, items: Sequence[Entry]) -> Plan:
    """An ended plan of which somebody retries a job by hand, or undoes what had succeeded."""
    moving = [entry for entry in items if entry.state in MOVING]
    if any(not entry.undone for entry in moving):
        return with_changes(plan, state=PlanState.RUNNING, reason="", ended_at=None)
    if moving and plan.state is PlanState.SUCCEEDED:
        return with_changes(plan, state=PlanState.UNDOING, reason="", ended_at=None)
    return plan


def undone(plan: Plan, items: Iterable[Entry], now: datetime) -> Plan:
    """A plan that a user undoes, once nothing of it moves."""
    items = list(items)
    if any(entry.state in MOVING for entry in items):
        return plan
    left_over = any(entry.state is ItemState.ROLLBACK_FAILED for entry in items)
    return with_changes(plan, state=PlanState.FAILED if left_over else PlanState.CANCELLED, reason="", ended_at=now)


def _opened(wave: Wave, begun: Collection[str], now: datetime) -> Wave:
    return wave.model_copy(update={"open_since": now}) if wave.name in begun and not wave.open_since else wave


def _by_wave(items: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in items:
        found[entry.wave].append(entry)
    return found


def time_text(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def with_changes(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update=changes)
