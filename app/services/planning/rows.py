"""Rows become drafts: each is looked up, and its values are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import ValidationError

from app.domain.plan import Item, Plan, Wanted, WantedPlan
from app.domain.registered import KnownVM, RegisteredTarget
from app.services.planning.differences import carried
from app.services.planning.drafts import OF_THE_WHOLE_ITEM, Draft, filled
from app.services.planning.identity import source_of, vm_of
from app.services.planning.known import Known, SourceVMs
from app.services.planning.report import Findings
from app.services.planning.values import options_of, target_of
from app.services.planning.waves import wave_of

FURTHEST = 1_000_000  # of 'order'


@dataclass(frozen=True)
class Asked:
    """What is asked of an import beside what its bytes say. `source` and `target` are for rows that name none."""

    source: str = ""
    target: str = ""
    remove_missing: bool = False


@dataclass(frozen=True)
class Before:
    """The plan as it is, before an import. `locked`: keys of items that move or have moved."""

    plan: Plan | None = None
    items: Sequence[Item] = ()
    locked: frozenset[str] = frozenset()


@dataclass
class Rows:
    """`lost`: what rows call VMs that were not found. `places`: key → where its first row stands."""

    drafts: list[Draft] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    places: dict[str, str] = field(default_factory=dict)


class _Vm(NamedTuple):
    vms: SourceVMs
    vm: KnownVM
    key: str


class RowReader:
    def __init__(self, wanted: WantedPlan, asked: Asked, before: Before, known: Known, found: Findings) -> None:
        self._wanted, self._asked, self._before = wanted, asked, before
        self._known, self._found = known, found
        self._old = {item.key: item for item in before.items}

    def read(self) -> Rows:
        """Each row that names a VM. What is wrong with one that is not included is a warning at most."""
        rows = Rows()
        for number, row in enumerate(self._wanted.rows, start=1):
            told = self._found if row.include else self._found.lenient()
            who = self._who(row, rows, told)
            if who is not None:
                rows.places[who.key] = row.place()
                rows.drafts.append(self._draft(row, number, who))
        self._unchecked(rows)
        return rows

    def kept(self, rows: Rows) -> list[Draft]:
        """What only the plan has, after what the import has."""
        missing = sorted((item for item in self._before.items if item.key not in rows.places), key=lambda i: i.place)
        return [
            Draft(
                item=item.model_copy(update={"place": len(self._wanted.rows) + number}),
                row=Wanted(places={"": f"{item.vm_name}, in the plan"}),
                uuid=item.vm_uuid,
                source=self._known.source(item.source),
                to=self._known.target(item.target),
                locked=item.key in self._before.locked,
                kept=True,
            )
            for number, item in enumerate(missing, start=1)
        ]

    def _who(self, row: Wanted, rows: Rows, told: Findings) -> _Vm | None:
        source = source_of(row, self._asked.source, self._known, told)
        vms = self._known.vms(source) if source else None
        vm = vm_of(row, vms, self._known, told) if vms else None
        if vms is None or vm is None:
            rows.lost |= {row.vm_name, row.vm_id}
            return None
        key = vms.key(vm)
        if key in rows.places:
            told.error(
                row.place("vm_name"),
                "vm_twice",
                f"{vm.name} ({vm.id}) stands in this plan already: {rows.places[key]}",
                "Leave one of the two rows out.",
            )
            return None
        return _Vm(vms, vm, key)

    def _draft(self, row: Wanted, number: int, who: _Vm) -> Draft:
        old = self._old.get(who.key)
        if old is not None and self._wanted.kind not in OF_THE_WHOLE_ITEM:
            row = filled(row, old)
        locked = who.key in self._before.locked
        found = self._found if row.include and not locked else Findings()
        to = target_of(row, self._asked.target, self._known, found)
        item = self._item(row, number, who, to, found)
        if old is None or not locked:
            return Draft(carried(item, old), row, who.vm.uuid, who.vms.source, to, locked)
        asked = carried(item, old).model_copy(update={"depends_on": old.depends_on})
        stays = old.model_copy(update={"place": number})
        return Draft(stays, row, who.vm.uuid, who.vms.source, self._known.target(old.target), locked, asked=asked)

    def _item(self, row: Wanted, number: int, who: _Vm, to: RegisteredTarget | None, found: Findings) -> Item:
        said = {
            "order": row.order or 0,
            "cutover_at": row.cutover_at,
            "group": row.group,
            "owner": row.owner,
            "notes": row.notes,
        }
        if abs(row.order or 0) > FURTHEST:
            said["order"] = 0
            found.error(row.place("order"), "order_invalid", f"order goes from -{FURTHEST} to {FURTHEST}")
        fixed = {
            "key": who.key,
            "place": number,
            "include": row.include,
            "wave": wave_of(row, self._wanted.waves, self._known.suggestions, found),
            "source": who.vms.source.name,
            "vm_id": who.vm.id,
            "vm_name": who.vm.name,
            "vm_uuid": who.vm.uuid,
            "target": to.name if to else row.target,
            "options": options_of(row, to, self._known.suggestions, found),
        }
        try:
            return Item.model_validate(fixed | said)
        except ValidationError as error:
            wrong = {str(item["loc"][0]): item["msg"] for item in error.errors()}
            for name, message in wrong.items():
                found.error(row.place(name), f"{name}_invalid", f"{name}: {message}", "See the column's comment.")
            return Item.model_validate(fixed | {name: value for name, value in said.items() if name not in wrong})

    def _unchecked(self, rows: Rows) -> None:
        """A target that nobody has looked at yet is told once, not at each of its rows."""
        first: dict[str, Draft] = {}
        for draft in rows.drafts:
            if draft.open and draft.to and draft.to.facts is None:
                first.setdefault(draft.to.name, draft)
        for name, draft in first.items():
            self._found.error(
                draft.place("target"),
                "target_unchecked",
                f"target {name} has not been looked at yet: what is there is not known",
                f"Check it first: vmferry target check {name}.",
            )
