"""An item on its way into a plan, beside the row that asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.plan import Item, Wanted
from app.domain.registered import RegisteredSource, RegisteredTarget

DEFAULT_WAVE = "1"
OF_THE_WHOLE_ITEM = frozenset({"plan", "document"})  # kinds that say all of an item; others know only part of it


@dataclass(frozen=True)
class Draft:
    """`locked`: it moves or has moved, and stays as it is; `asked` is then what its row would have it be. `kept`: the
    plan has it, the import has not. `source` and `to` are None where a row does not say them rightly.
    """

    item: Item
    row: Wanted
    uuid: str
    source: RegisteredSource | None
    to: RegisteredTarget | None
    locked: bool = False
    kept: bool = False
    asked: Item | None = None

    @property
    def open(self) -> bool:
        """Whether it is still to be started."""
        return self.item.include and not self.locked

    def place(self, *fields: str) -> str:
        """Where the first of these stands that the row has at all, else the row."""
        return next((self.row.places[field] for field in fields if field in self.row.places), self.row.place())

    def vm_place(self) -> str:
        said = [field for field in ("vm_name", "vm_id", "vm_uuid") if getattr(self.row, field)]
        return self.place(*said, "vm_name")


def filled(row: Wanted, item: Item) -> Wanted:
    """A row of a sheet that knows only part of an item: what it does not say stays as the plan has it."""
    options = item.options
    return replace(
        row,
        include=row.include and item.include,
        wave=row.wave or item.wave,
        order=item.order if row.order is None else row.order,
        target=row.target or item.target,
        target_name=row.target_name or options.target_name,
        strategy=row.strategy or options.strategy,
        pool=row.pool or options.pool,
        format=row.format or options.format or "",
        networks=row.networks or options.networks,
        cpus=options.cpus if row.cpus is None else row.cpus,
        memory_bytes=options.memory_bytes if row.memory_bytes is None else row.memory_bytes,
        profile=row.profile or options.profile,
        cutover_at=row.cutover_at or item.cutover_at,
        power_on=options.power_on if row.power_on is None else row.power_on,
        group=row.group or item.group,
        depends_on=row.depends_on or item.depends_on,
        owner=row.owner or item.owner,
        notes=row.notes or item.notes,
    )


def in_order(drafts: Sequence[Draft]) -> list[Draft]:
    """As they would start within a wave."""
    return sorted(drafts, key=lambda draft: (draft.item.order, draft.item.place, draft.item.key))
