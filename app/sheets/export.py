"""A plan as a sheet again: what is planned, as it can be imported, and how each move went."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from app.domain.plan import Item, Wanted, Wave
from app.domain.spelling import folded, plain
from app.sheets.cells import Written, row_cells
from app.sheets.columns import COLUMNS, STATE_COLUMNS
from app.sheets.guard import guard
from app.sheets.lists import NOTHING, Choices
from app.sheets.outcome import Outcome
from app.sheets.template import workbook

_NONE = Outcome()
_MARK = "\ufeff"  # by which Excel knows UTF-8


def export_xlsx(
    items: Sequence[Item], waves: Sequence[Wave], outcomes: Mapping[str, Outcome], choices: Choices = NOTHING
) -> bytes:
    """`outcomes`: by the key of the item."""
    return workbook(as_wanted(items), choices, waves, _states(items, outcomes))


def export_csv(items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> bytes:
    """The sheet Plan alone. An import of it leaves the waves as they are."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(column.header for column in (*COLUMNS, *STATE_COLUMNS))
    for row, states in zip(as_wanted(items), _states(items, outcomes), strict=True):
        rows.writerow(map(_csv, (*row_cells(row), *states)))
    return (_MARK + text.getvalue()).encode("utf-8", "replace")


def _csv(cell: Written) -> str:
    if isinstance(cell, str):
        return guard(cell.replace("\0", ""))  # no reader of CSVs takes a zero
    return "" if cell is None else str(cell)


def _states(items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> list[list[Written]]:
    found = [outcomes.get(item.key, _NONE) for item in items]
    return [[outcome.written(column.field) for column in STATE_COLUMNS] for outcome in found]


def as_wanted(items: Sequence[Item]) -> list[Wanted]:
    """Each as a row that an import makes the same item of."""
    called = _names(items)
    return [
        Wanted(
            include=item.include,
            wave=item.wave,
            order=item.order or None,
            source=item.source,
            vm_name=item.vm_name,
            vm_id=item.vm_id,
            vm_uuid=item.vm_uuid,
            target=item.target,
            target_name=item.options.target_name,
            strategy=item.options.strategy.value,
            pool=item.options.pool,
            format=item.options.format,
            networks=item.options.networks,
            cpus=item.options.cpus,
            memory_bytes=item.options.memory_bytes,
            profile=item.options.profile.value,
            cutover_at=item.cutover_at,
            power_on=item.options.power_on,
            group=item.group,
            depends_on=tuple(called.get(key, key) for key in item.depends_on),
            owner=item.owner,
            notes=item.notes,
        )
        for item in items
    ]


def _names(items: Sequence[Item]) -> dict[str, str]:
    """key → what only this item of the plan is called: by its name where that will do, else by its id."""
    words = Counter(
        word
        for item in items
        for word in {
            folded(called)
            for called in (item.key, item.vm_id, item.vm_name, item.vm_uuid, item.vm_uuid.replace("-", ""))
        }
    )
    return {
        item.key: next(
            (
                called
                for called in (item.vm_name, item.vm_id)
                if called and plain(called) == called and words[folded(called)] == 1
            ),
            item.key,
        )
        for item in items
    }
