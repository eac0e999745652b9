"""Our own template: the sheet Plan, a row a VM, and the sheet Waves; a CSV has the first only."""

from __future__ import annotations

from collections.abc import Collection

from app.domain.plan import Wanted, WantedPlan
from app.domain.spelling import did_you_mean
from app.sheets import values
from app.sheets.columns import COLUMNS, STATE_COLUMNS
from app.sheets.formats import own
from app.sheets.formats.waves import waves_of
from app.sheets.known import role, squeezed
from app.sheets.table import Table, find, unknown_headers
from app.sheets.workbook import Workbook

_SHORT = {"name": "vm_name", "vm": "vm_name"}
_LEFT_ALONE = [squeezed(column.header) for column in STATE_COLUMNS]


def understand(workbook: Workbook) -> WantedPlan | None:
    """None where no sheet has our columns."""
    table = _table(workbook)
    if table is None:
        return None
    _check_headers(table)
    table.check()
    rows = _rows(table)
    waves, places, problems = waves_of(workbook)
    kind = "names" if set(table.columns) == {"vm_name"} else "plan"
    return WantedPlan(kind, rows, waves, places, (*table.problems, *problems))


def _table(workbook: Workbook) -> Table | None:
    """Of the sheet Plan; where none is called that, of the first one that has a VM's name or id under its header. A
    column "Name" or "VM" is one where another column of a plan stands beside it.
    """
    named = [sheet for sheet in workbook.sheets if role(sheet.name) == "plan"]
    for fields, needed in ((own.FIELDS, _names_vms), (own.FIELDS | _SHORT, _names_vms_and_more)):
        for sheet in named or workbook.sheets:
            table = find(sheet, fields, needed)
            if table is not None:
                return table
    return None


def _names_vms(columns: Collection[str]) -> bool:
    return any(field in columns for field in own.IDENTITY)


def _names_vms_and_more(columns: Collection[str]) -> bool:
    return _names_vms(columns) and len(columns) > 1


def _check_headers(table: Table) -> None:
    missing = [column.header for column in COLUMNS if column.field not in table.columns]
    for place, header, twice in unknown_headers(table, own.FIELDS, _LEFT_ALONE):
        if twice:
            first = table.sheet.place(table.header.number, table.columns[twice])
            table.note(
                place, f'"{header}" is there twice, first at {first}', "Delete one of the two.", code="column_twice"
            )
        else:
            fix = did_you_mean(header, missing) or "Nothing to do, if it is your own."
            table.note(
                place, f'"{header}" is no column of a plan: it is left alone', fix, error=False, code="column_unknown"
            )


def _rows(table: Table) -> tuple[Wanted, ...]:
    records = list(table.records())
    included = own.included(table, records)
    rows = []
    for record, include in zip(records, included, strict=True):
        if not any(values.is_number(cell) or cell for cell in map(record.cell, own.IDENTITY)):
            table.note(
                record.place(), "the row names no VM", "Give a VM name or a VM id, or empty the row.", code="vm_missing"
            )
            continue
        unsure = not any(record.cell(field) for field in ("vm_id", "vm_uuid"))
        for field, error in (("vm_name", unsure), ("vm_id", True), ("vm_uuid", True), ("target_name", False)):
            record.doubt_number(field, error=error)
        read = own.read(record, table.columns)
        if any(read.get(field) for field in own.IDENTITY):  # else it is told what is wrong with them
            rows.append(Wanted(include=include, places=record.places, **read))
    return tuple(rows)
