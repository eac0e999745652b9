"""What each item of a plan waits for, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from app.domain.plan import ItemState, Plan, PlanState
from app.domain.plan_run import open_waves, time_text, wave_waits
from app.domain.plan_state import Entry, planned


def waits_for(plan: Plan, entries: Iterable[Entry], now: datetime) -> dict[str, str]:
    """What each item waits for that waits: key → sentence."""
    items = planned(entries)
    waiting = [entry for entry in items if entry.state is ItemState.WAITING]
    if plan.state is not PlanState.RUNNING:
        state = {PlanState.UNDOING: "is being undone", PlanState.DRAFT: "has not been started"}
        return {entry.key: f"Waits: the plan {state.get(plan.state, f'is {plan.state}')}." for entry in waiting}
    if not waiting:
        return {}
    by_key = {entry.key: entry for entry in items}
    waves = open_waves(plan, items)
    waits = {wave.name: wave_waits(plan, wave, items, now) for wave in waves}

    def said(entry: Entry) -> str:
        if entry.wave not in waits:
            return f"Waits until wave {waves[0].name} is over."
        wait = waits[entry.wave]
        return f"Waits: {wait.text}." if wait else _waits(entry, by_key, now)

    return {entry.key: said(entry) for entry in waiting}


def _waits(entry: Entry, by_key: dict[str, Entry], now: datetime) -> str:
    if entry.cutover_at and now < entry.cutover_at:
        return f"Starts at {time_text(entry.cutover_at)}."
    before = [by_key[key] for key in entry.depends_on if key in by_key]
    if left := [other.name for other in before if other.state is not ItemState.SUCCEEDED]:
        return f"Waits for {', '.join(left[:3])}{', …' if len(left) > 3 else ''}."
    return "Waits for a free place" + (" for all of its group." if entry.group else ".")
