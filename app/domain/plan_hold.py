"""Who of a plan can never be started as things are: what it depends on, or one of its group, is lost. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.domain.plan import ItemState, Plan
from app.domain.plan_state import LOST, Entry, vms_text, wave_names


def hopeless(plan: Plan, items: Sequence[Entry]) -> dict[str, str]:
    """Who waits and cannot be started as things are, and why: key → words."""
    by_key = {entry.key: entry for entry in items}
    needed_by: dict[str, list[Entry]] = defaultdict(list)
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in items:
        for key in entry.depends_on:
            needed_by[key].append(entry)
        if entry.group:
            groups[entry.group].append(entry)
    held: dict[str, str] = {}
    lost = [entry for entry in items if entry.state in LOST]

    def hold(entry: Entry, why: str) -> None:
        if entry.state is ItemState.WAITING and entry.key not in held:
            held[entry.key] = why
            lost.append(entry)

    place = {name: number for number, name in enumerate(wave_names(plan, items))}
    for entry in items:
        for key in entry.depends_on:
            if key not in by_key:
                hold(entry, "it depends on a VM that this plan does not move")
            elif place[by_key[key].wave] > place[entry.wave] and by_key[key].state is ItemState.WAITING:
                hold(entry, f"it depends on {by_key[key].name}, which is of a later wave")
    for key in in_circles(entry for entry in items if entry.state is ItemState.WAITING):
        hold(by_key[key], "it depends on itself, through others or its group")
    for name, members in groups.items():
        if why := _impossible_group(plan, name, [entry for entry in members if entry.state is ItemState.WAITING]):
            for entry in members:
                hold(entry, why)
    while lost:
        gone = lost.pop()
        said = "is held" if gone.key in held else _said(gone.state)
        for entry in needed_by[gone.key]:
            hold(entry, f"it depends on {gone.name}, which {said}")
        for entry in groups[gone.group] if gone.group else ():
            hold(entry, f"{gone.name} of its group {gone.group} {said}")
    return held


def units(waiting: Iterable[Entry]) -> list[list[Entry]]:
    """What starts together, in its order: a group, or one alone."""
    found: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in sorted(waiting, key=lambda entry: (entry.order, entry.place)):
        found[(entry.group, "" if entry.group else entry.key)].append(entry)
    return list(found.values())


def in_circles(items: Iterable[Entry]) -> set[str]:
    """Keys of those that could never start, since they depend on themselves, and of who depends on such.

    Those of a group start together: what one of them depends on, all do.
    """
    by_first = {unit[0].key: unit for unit in units(items)}
    unit_of = {entry.key: first for first, unit in by_first.items() for entry in unit}
    needs = {
        first: {unit_of[key] for entry in unit for key in entry.depends_on if key in unit_of}
        for first, unit in by_first.items()
    }
    needed_by: dict[str, list[str]] = defaultdict(list)
    for first, others in needs.items():
        for other in others:
            needed_by[other].append(first)
    free = [first for first, others in needs.items() if not others]
    left = {first: len(others) for first, others in needs.items()}
    while free:
        for first in needed_by[free.pop()]:
            left[first] -= 1
            if not left[first]:
                free.append(first)
    return {entry.key for first, count in left.items() if count for entry in by_first[first]}


def _impossible_group(plan: Plan, name: str, waiting: Sequence[Entry]) -> str:
    """Why what waits of a group can never start together."""
    if len({entry.wave for entry in waiting}) > 1:
        return f"its group {name} has VMs in several waves: they could not start together"
    wave = plan.wave(waiting[0].wave) if waiting else None
    if wave and wave.at_once and len(waiting) > wave.at_once:
        return f"its group {name} has {vms_text(len(waiting))}, and wave {wave.name} takes {wave.at_once} at once"
    return ""


def _said(state: ItemState) -> str:
    match state:
        case ItemState.FAILED:
            return "failed"
        case ItemState.ROLLBACK_FAILED:
            return "left something over"
        case ItemState.HELD:
            return "is held"
        case _:
            return f"was {state.replace('_', ' ')}"
