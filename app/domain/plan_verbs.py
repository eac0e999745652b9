"""What users ask of a plan: each a pure function to the Change that carries it out. Raise Conflict and NotFound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from app.domain.errors import Conflict, NotFound
from app.domain.plan import Gate, ItemState, Plan, PlanState, Wave
from app.domain.plan_run import Change, broken, can_be_cancelled, undone, with_changes
from app.domain.plan_state import ENDED, FAILURES, Entry, planned, vms_text
from app.domain.states import JobState

_UNDER_WAY = (PlanState.RUNNING, PlanState.PAUSED)
_TRIED_AGAIN = (ItemState.FAILED, ItemState.CANCELLED, ItemState.HELD)
_CAN_BE_TRIED_AGAIN = (*_TRIED_AGAIN, ItemState.ROLLED_BACK)
_CAN_BE_UNDONE = (JobState.SUCCEEDED, JobState.FAILED, JobState.ROLLBACK_FAILED)


def start(plan: Plan, entries: Iterable[Entry], now: datetime) -> Change:
    if plan.state is PlanState.RUNNING:
        return Change(plan)
    if plan.state is not PlanState.DRAFT:
        raise _not_now(plan, "Resume it, or retry what failed.")
    if not planned(entries):
        raise Conflict(f"plan {plan.name} moves nothing", "Import VMs that it shall move.", code="plan_is_empty")
    return Change(with_changes(plan, state=PlanState.RUNNING, reason="", started_at=now))


def pause(plan: Plan, entries: Iterable[Entry], now: datetime) -> Change:
    """Nothing new is started; what moves goes on."""
    if plan.state is PlanState.PAUSED:
        return Change(plan)
    if plan.state is not PlanState.RUNNING:
        raise _not_now(plan, "Only a plan that runs can be paused.")
    return Change(with_changes(plan, state=PlanState.PAUSED, reason=""))


def resume(plan: Plan, entries: Iterable[Entry], now: datetime) -> Change:
    """What failed until now counts no longer for `stop_after`."""
    if plan.state is PlanState.RUNNING:
        return Change(plan)
    if plan.state is not PlanState.PAUSED:
        raise _not_now(plan, "Only a paused plan can be resumed.")
    return Change(_running(plan, now), forgive=_counted(entries))


def cancel(plan: Plan, entries: Iterable[Entry], now: datetime) -> Change:
    """What moves is cancelled, which undoes it, and nothing more is started."""
    if plan.state in (PlanState.UNDOING, PlanState.CANCELLED):
        return Change(plan)
    if plan.state in ENDED:
        raise _not_now(plan, "Use rollback to undo what it did.")
    return _undoing(plan, planned(entries), (), now, "the plan was cancelled")


def retry(plan: Plan, entries: Iterable[Entry], now: datetime, keys: Collection[str] = ()) -> Change:
    """What failed, was cancelled or is held goes again, or those of `keys`, also when they were rolled back.

    With each go the others of its group, and who is held because it depends on them.
    """
    if plan.state in (PlanState.DRAFT, PlanState.UNDOING):
        raise _not_now(plan, "Start it." if plan.state is PlanState.DRAFT else "Wait until that has ended.")
    items = planned(entries)
    for entry in _named(plan, items, keys) if keys else ():
        if entry.state not in _CAN_BE_TRIED_AGAIN:
            remedy = "Leave it out."
            if entry.state is ItemState.ROLLBACK_FAILED:
                remedy = "Run the command of each leftover of its job, and roll it back again."
            said = entry.state.replace("_", " ")
            raise Conflict(f"{entry.name} is {said}: it cannot be tried again", remedy, key=entry.key)
    wanted = set(keys) or {entry.key for entry in items if entry.state in _TRIED_AGAIN}
    if not wanted:
        raise Conflict(f"nothing of plan {plan.name} can be tried again", "Nothing failed, was cancelled or is held.")
    again = _with_companions(items, wanted)
    others = [entry for entry in items if entry.key not in again]
    return Change(_running(plan, now), again=again, forgive=_counted(others))


def roll_back(
    plan: Plan,
    entries: Iterable[Entry],
    now: datetime,
    *,
    wave: str = "",
    keys: Collection[str] = (),
    confirm_data_loss: bool = False,
) -> Change:
    """Of the whole plan, one wave, or some items and their groups: undo what has ended, cancel what moves.

    What waits of it is not started. Raises Conflict for what had succeeded, unless the loss is confirmed.
    """
    if plan.state is PlanState.DRAFT:
        raise _not_now(plan, "Nothing of it has been moved.")
    items = planned(entries)
    scope = items
    if wave:
        _wave(plan, wave)
        scope = [entry for entry in items if entry.wave == wave]
    if keys:
        named = _named(plan, scope, keys)
        groups = {entry.group for entry in named if entry.group}
        scope = [entry for entry in items if entry in named or entry.group in groups]
    moved = [entry for entry in scope if entry.state is ItemState.SUCCEEDED]
    if moved and not confirm_data_loss:
        some = ", ".join(entry.name for entry in moved[:5]) + (", …" if len(moved) > 5 else "")
        raise Conflict(
            f"{vms_text(len(moved))} of plan {plan.name} moved ({some}): a rollback removes them from their targets "
            "with their disks, and everything written there since is lost",
            'Repeat it with {"confirm_data_loss": true} if that is what you want.',
            code="confirmation_needed",
        )
    change = _undoing(plan, scope, scope, now, "it was rolled back")
    if not (change.hold or change.cancel or change.undo):
        raise Conflict(f"nothing of plan {plan.name} is there to roll back", "What was moved is undone already.")
    if plan.state in _UNDER_WAY and len(scope) < len(items):
        return Change(plan, change.hold, cancel=change.cancel, undo=change.undo)
    return change


def approve(plan: Plan, entries: Iterable[Entry], now: datetime, wave: str) -> Change:
    """Open the manual gate of a wave."""
    found = _wave(plan, wave)
    if found.gate is not Gate.MANUAL:
        raise Conflict(f"wave {wave} of plan {plan.name} needs no approval", f"Its gate is {found.gate}.")
    if found.approved_at is not None:
        return Change(plan)
    approved = found.model_copy(update={"approved_at": now})
    return Change(with_changes(plan, waves=tuple(approved if item is found else item for item in plan.waves)))


def replanned(plan: Plan, entries: Iterable[Entry]) -> Plan:
    """A plan whose items were changed: one that had ended and has something to start again waits for its user."""
    if plan.state in ENDED and any(entry.state is ItemState.WAITING for entry in entries):
        why = "VMs were added after it had ended: resume it to move them"
        return with_changes(plan, state=PlanState.PAUSED, reason=why, ended_at=None)
    return plan


def verbs(plan: Plan, entries: Iterable[Entry]) -> tuple[str, ...]:
    """Those that this plan takes now."""
    items = planned(entries)
    found = {
        PlanState.DRAFT: ["start", "cancel"] if items else [],
        PlanState.RUNNING: ["pause", "cancel"],
        PlanState.PAUSED: ["resume", "cancel"],
    }.get(plan.state, [])
    if plan.state not in (PlanState.DRAFT, PlanState.UNDOING):
        if any(entry.state in _TRIED_AGAIN for entry in items):
            found.append("retry")
        if any(entry.job in _CAN_BE_UNDONE for entry in items):
            found.append("rollback")
    if plan.state not in (*ENDED, PlanState.UNDOING) and any(
        wave.gate is Gate.MANUAL and not wave.approved_at for wave in plan.waves
    ):
        found.append("approve")
    return tuple(found)


def _running(plan: Plan, now: datetime) -> Plan:
    return with_changes(plan, state=PlanState.RUNNING, reason="", started_at=plan.started_at or now, ended_at=None)


def _undoing(plan: Plan, scope: Sequence[Entry], undo: Sequence[Entry], now: datetime, why: str) -> Change:
    """Hold what waits and cancel what moves of `scope`, and roll back what has ended of `undo`."""
    cancel = [entry.key for entry in scope if can_be_cancelled(entry)]
    ended = [entry.key for entry in undo if entry.job in _CAN_BE_UNDONE]
    waiting = {entry.key: why for entry in scope if entry.state is ItemState.WAITING}
    after = with_changes(plan, state=PlanState.UNDOING, reason="", ended_at=None)
    if not ended and not any(broken(scope)):
        after = undone(after, scope, now)
    return Change(after, waiting, cancel=cancel, undo=ended)


def _counted(entries: Iterable[Entry]) -> set[str]:
    return {entry.key for entry in entries if entry.state in FAILURES and not entry.forgiven}


def _with_companions(items: Sequence[Entry], wanted: Collection[str]) -> set[str]:
    """`wanted`, the others of their groups, and who is held because it depends on one of them."""
    able = {entry.key: entry for entry in items if entry.state in _CAN_BE_TRIED_AGAIN}
    groups: dict[str, list[str]] = defaultdict(list)
    dependants: dict[str, list[str]] = defaultdict(list)
    for entry in able.values():
        if entry.group:
            groups[entry.group].append(entry.key)
        for key in entry.depends_on if entry.state is ItemState.HELD else ():
            dependants[key].append(entry.key)
    found: set[str] = set()
    todo = list(wanted)
    while todo:
        key = todo.pop()
        if key not in found:
            found.add(key)
            todo += groups[able[key].group] + dependants[key]
    return found


def _named(plan: Plan, items: Sequence[Entry], keys: Collection[str]) -> list[Entry]:
    found = [entry for entry in items if entry.key in keys]
    if missing := set(keys) - {entry.key for entry in found}:
        raise NotFound(f"plan {plan.name} moves no {', '.join(sorted(missing)[:5])}", "List its items.")
    return found


def _wave(plan: Plan, name: str) -> Wave:
    found = plan.wave(name)
    if found is None:
        known = ", ".join(wave.name for wave in plan.waves) or "none"
        raise NotFound(f"plan {plan.name} has no wave {name}", f"Its waves: {known}.")
    return found


def _not_now(plan: Plan, remedy: str) -> Conflict:
    said = "being undone" if plan.state is PlanState.UNDOING else plan.state
    return Conflict(f"plan {plan.name} is {said}", remedy)
