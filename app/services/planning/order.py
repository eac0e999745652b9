"""Who waits for whom: dependencies, groups, and circles of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from app.domain.plan import Wave
from app.services.planning.drafts import Draft
from app.services.planning.known import plain_uuid
from app.services.planning.report import Findings
from app.services.planning.words import Suggestions, listed, said

SHOWN = 12  # VMs of a circle
CIRCLES = 50  # that are told at once


class Members:
    """The items of a plan by whatever a row may call one in 'depends on'."""

    def __init__(self, drafts: Sequence[Draft], lost: Collection[str]) -> None:
        """`lost`: what rows call VMs that were not found, which is told already."""
        self.lost = lost
        self._by: dict[str, list[Draft]] = defaultdict(list)
        self.names = sorted({draft.item.vm_name for draft in drafts})
        for draft in drafts:
            item = draft.item
            for word in {item.key, item.vm_id, plain_uuid(draft.uuid), item.vm_name, item.vm_name.casefold()} - {""}:
                self._by[word].append(draft)

    def called(self, word: str, by: Draft) -> list[Draft]:
        """Those of the same source before others, the exact name before one in another case."""
        same = self._by.get(word) or self._by.get(plain_uuid(word)) or self._by.get(word.casefold()) or []
        exact = [draft for draft in same if word in (draft.item.key, draft.item.vm_id, draft.item.vm_name)] or same
        return [draft for draft in exact if draft.item.source == by.item.source] or exact


def linked(drafts: Sequence[Draft], lost: Collection[str], suggest: Suggestions, found: Findings) -> list[Draft]:
    """The drafts with the keys of what they depend on."""
    if not any(draft.row.depends_on for draft in drafts):
        return list(drafts)
    members = Members(drafts, lost)
    return [_linked(draft, members, suggest, found) if draft.row.depends_on else draft for draft in drafts]


def _linked(draft: Draft, members: Members, suggest: Suggestions, found: Findings) -> Draft:
    if draft.locked or draft.kept:
        return draft
    quiet = found if draft.item.include else Findings()
    keys = set()
    for word in draft.row.depends_on:
        others = members.called(word, draft)
        if len(others) == 1:
            keys.add(others[0].item.key)
            _possible(draft, others[0], quiet)
        elif others:
            quiet.error(
                draft.place("depends_on"),
                "depends_on_ambiguous",
                f"{len(others)} VMs of the plan are named {said(word)}: {listed([o.item.vm_id for o in others])}",
                "Write the VM id of the one that is meant.",
            )
        elif word not in members.lost:
            quiet.error(
                draft.place("depends_on"),
                "depends_on_unknown",
                f"no VM {said(word)} is in this plan",
                suggest.did_you_mean(word, members.names) or "Add it to the plan, or take it out of this cell.",
            )
    return replace(draft, item=draft.item.model_copy(update={"depends_on": tuple(sorted(keys))}))


def _possible(draft: Draft, other: Draft, found: Findings) -> None:
    if not other.item.include:
        found.error(
            draft.place("depends_on"),
            "depends_on_excluded",
            f"{draft.item.vm_name} waits for {other.item.vm_name}, which the plan does not move",
            f"Include {other.item.vm_name}, or take it out of this cell.",
        )


def check_order(
    drafts: Sequence[Draft], waves: Sequence[Wave], wave_places: Mapping[str, str], found: Findings
) -> None:
    """Groups that cannot start together, and what would wait for ever, of what is still to be started."""
    waiting = [draft for draft in drafts if draft.open]
    position = {wave.name: place for place, wave in enumerate(waves)}
    by_key = {draft.item.key: draft for draft in waiting}
    for draft in waiting:
        for other in (by_key[key] for key in draft.item.depends_on if key in by_key):
            if position[other.item.wave] > position[draft.item.wave]:
                found.error(
                    draft.place("depends_on"),
                    "depends_on_later_wave",
                    f"{draft.item.vm_name} of wave {said(draft.item.wave)} waits for {other.item.vm_name}, which moves"
                    f" later, in wave {said(other.item.wave)}",
                    "Put them into the same wave, or the other one into an earlier one.",
                )
    _groups(waiting, {wave.name: wave for wave in waves}, wave_places, found)
    _circles(waiting, by_key, found)


def _groups(
    waiting: Sequence[Draft], waves: Mapping[str, Wave], wave_places: Mapping[str, str], found: Findings
) -> None:
    groups: dict[str, list[Draft]] = defaultdict(list)
    for draft in waiting:
        if draft.item.group:
            groups[draft.item.group].append(draft)
    for name, members in groups.items():
        first = min(members, key=lambda draft: draft.item.place)
        for draft in members:
            if draft.item.wave != first.item.wave:
                found.error(
                    draft.place("group"),
                    "group_in_two_waves",
                    f"the group {said(name)} starts together, and {draft.item.vm_name} is in wave"
                    f" {said(draft.item.wave)}, {first.item.vm_name} in wave {said(first.item.wave)}",
                    "Put the whole group into one wave.",
                )
            if draft.item.cutover_at != first.item.cutover_at:
                found.error(
                    draft.place("cutover_at"),
                    "group_at_two_times",
                    f"the group {said(name)} starts together, and {draft.item.vm_name} has another 'cutover at' than"
                    f" {first.item.vm_name}",
                    "Give the whole group the same time, or none.",
                )
        at_once = waves[first.item.wave].at_once
        if at_once is not None and len(members) > at_once:
            found.error(
                wave_places.get(f"{first.item.wave}/at_once") or first.place("group"),
                "group_too_large",
                f"the group {said(name)} has {len(members)} VMs, which start together, and the wave"
                f" {said(first.item.wave)} takes {at_once} at once",
                f"Raise 'at once' of the wave to {len(members)}, or make the group smaller.",
            )


class _Edge(NamedTuple):
    """`by` waits for `other`; `to` is what `other` is part of: its group, or itself."""

    by: Draft
    other: Draft
    to: str


def _circles(waiting: Sequence[Draft], by_key: Mapping[str, Draft], found: Findings) -> None:
    """Each circle once, at one of its VMs. A group starts together: it waits for all that one of it waits for."""
    edges: dict[str, list[_Edge]] = defaultdict(list)
    for draft in sorted(waiting, key=lambda draft: draft.item.key):
        for other in (by_key[key] for key in draft.item.depends_on if key in by_key):
            edges[_unit(draft)].append(_Edge(draft, other, _unit(other)))
    for circle in islice(_walk(edges), CIRCLES):
        first = min((edge.by for edge in circle), key=lambda draft: draft.item.place)
        start = next(place for place, edge in enumerate(circle) if edge.by is first)
        path = _told([*circle[start:], *circle[:start]])
        found.error(
            first.place("depends_on"),
            "depends_on_circle",
            f"these wait for each other, and none would ever start: {path}",
            "Take one of them out of 'depends on'.",
        )


def _unit(draft: Draft) -> str:
    return f"group:{draft.item.group}" if draft.item.group else draft.item.key


def _walk(edges: Mapping[str, Sequence[_Edge]]) -> Iterator[list[_Edge]]:
    """Depth first, without recursion: a chain may have ten thousand links."""
    done: set[str] = set()
    for root in list(edges):
        if root in done:
            continue
        path: list[_Edge] = []
        on_path = {root: 0}
        stack: list[tuple[str, Iterator[_Edge]]] = [(root, iter(edges.get(root, ())))]
        while stack:
            unit, rest = stack[-1]
            edge = next(rest, None)
            if edge is None:
                stack.pop()
                done.add(unit)
                on_path.pop(unit, None)
                if path:
                    path.pop()
            elif edge.to in on_path:
                yield [*path[on_path[edge.to] :], edge]
            elif edge.to not in done:
                path.append(edge)
                on_path[edge.to] = len(path)
                stack.append((edge.to, iter(edges.get(edge.to, ()))))


def _told(circle: Sequence[_Edge]) -> str:
    """ "web → db → web"; where a group closes it, "web → db (group erp, with app) → web"."""
    words = [circle[0].by.item.vm_name]
    for edge, following in zip(circle, [*circle[1:], circle[0]], strict=True):
        name = edge.other.item.vm_name
        if following.by is not edge.other:
            name += f" (group {edge.other.item.group}, with {following.by.item.vm_name})"
        words.append(name)
    if len(words) > SHOWN:
        words = [*words[: SHOWN // 2], f"… {len(words) - SHOWN} more …", *words[-SHOWN // 2 :]]
    return " → ".join(words)
