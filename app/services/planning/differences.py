"""What an import does to each item of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from app.domain.plan import Change, Difference, Item, Wave
from app.services.planning.drafts import Draft

OF_THE_RUN = ("job", "unit", "held", "error", "again", "forgiven")  # fields of an item that no import touches
_NOT_COMPARED = {"place": 0, "bytes": 0}  # where a row stands, and what the inventory says, are not planned
_OF_ITEM = (
    "include",
    "wave",
    "order",
    "source",
    "vm_name",
    "vm_uuid",
    "target",
    "cutover_at",
    "group",
    "owner",
    "notes",
)
_OF_OPTIONS = (
    "strategy", "target_name", "pool", "format", "networks", "cpus", "memory_bytes", "profile", "power_on",
)  # fmt: skip


def carried(item: Item, before: Item | None) -> Item:
    """The item as an import says it, with what its run has left so far."""
    return item if before is None else item.model_copy(update={name: getattr(before, name) for name in OF_THE_RUN})


def difference(draft: Draft, before: Mapping[str, Item], names: Mapping[str, str], *, remove: bool) -> Difference:
    """`names`: key → the VM's name."""
    item, old, said = draft.item, before.get(draft.item.key), draft.asked or draft.item
    change: Change = "unchanged"
    if draft.kept:
        change = "locked" if remove and draft.locked else "missing"
    elif old is None:
        change = "added"
    elif _compared(said) != _compared(old):
        change = "locked" if draft.locked else "changed"
    fields = _fields(old, said, names) if old and change in ("locked", "changed") and not draft.kept else {}
    return Difference(
        key=item.key, vm_name=item.vm_name, change=change, place="" if draft.kept else draft.row.place(), fields=fields
    )


def same_waves(one: tuple[Wave, ...], other: tuple[Wave, ...]) -> bool:
    """But for what their run knows."""
    return [wave.as_planned() for wave in one] == [wave.as_planned() for wave in other]


def _compared(item: Item) -> Item:
    return item.model_copy(update=_NOT_COMPARED)


def _fields(old: Item, new: Item, names: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    before, after = _words(old, names), _words(new, names)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _words(item: Item, names: Mapping[str, str]) -> dict[str, str]:
    words = {name: _word(getattr(item, name)) for name in _OF_ITEM}
    words |= {name: _word(getattr(item.options, name)) for name in _OF_OPTIONS}
    return words | {"depends_on": "; ".join(sorted(names.get(key, key) for key in item.depends_on))}


def _word(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat()
        case dict():
            return "; ".join(f"{name}={plug}" for name, plug in sorted(value.items()))
    return str(value)
