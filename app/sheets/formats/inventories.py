"""What the sheets of inventory tools have in common: much in them is only told, and some of their VMs do not move."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from app.domain.described import Described
from app.domain.plan import Problem, Wanted, WantedPlan
from app.sheets import values
from app.sheets.formats import own
from app.sheets.formats.waves import waves_of
from app.sheets.table import Record, Table, find
from app.sheets.workbook import Cell, Sheet, Workbook

MIB = 1 << 20
_OWN_OF_VCENTER = re.compile(r"vCLS([ -]|$)")  # its agents: made anew as soon as they are gone

T = TypeVar("T")


def told(cell: Cell, how: Callable[[Cell], T | None]) -> T | None:
    """Of what is not needed: what cannot be understood is as if it was not said."""
    try:
        return how(cell)
    except values.Wrong:
        return None


def number(cell: Cell) -> int | None:
    return told(cell, lambda it: values.whole(it, 0, 1 << 50))


def yes(cell: Cell) -> bool:
    return told(cell, values.yes_no) is True


def word(cell: Cell) -> str:
    return told(cell, values.name) or ""


def prefixed(fields: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """Squeezed header → field, with and without the name of its tab before it."""
    return {**{f"{prefix}{header}": field for header, field in fields.items()}, **fields}


def enough(marks: Iterable[str], least: int = 2) -> Callable[[Collection[str]], bool]:
    """Whether a row of headers is that of this tool: a VM's name, and so many of its own columns."""
    own = frozenset(marks)
    return lambda columns: "vm_name" in columns and len(own.intersection(columns)) >= least


def _stays(record: Record) -> tuple[str, str]:
    """(field, why) for a VM that is none to move; ("", "") for any other."""
    if yes(record.cell("template")):
        return "template", "a template is not moved"
    if yes(record.cell("srm_placeholder")):
        return "srm_placeholder", "a placeholder of Site Recovery Manager is not moved: the VM itself is elsewhere"
    if (number(record.cell("ft_role")) or 0) > 1:
        return "ft_role", "the second half of a fault tolerant VM is not moved"
    connection = word(record.cell("connection")).casefold()
    if connection not in ("", "connected"):
        return "connection", f"vCenter cannot reach it ({connection})"
    if _OWN_OF_VCENTER.match(word(record.cell("vm_name"))):
        return "vm_name", "vCenter's own agents are not moved"
    return "", ""


def table_of(sheet: Sheet, fields: Mapping[str, str], needed: Callable[[Collection[str]], bool]) -> Table | None:
    """With the columns of a plan that somebody may have added to it."""
    return find(sheet, {**own.ADDED, **fields}, needed)


def plan_of(
    kind: str, workbook: Workbook, tables: Iterable[Table], describe: Callable[[Record], Described]
) -> WantedPlan:
    waves, places, problems = waves_of(workbook)
    found: list[Wanted] = []
    told: list[Problem] = []
    for table in tables:
        table.check()
        found += _rows(table, describe)
        told += table.problems
    return WantedPlan(kind, tuple(found), waves, places, (*told, *problems))


def _rows(table: Table, describe: Callable[[Record], Described]) -> Iterator[Wanted]:
    """A VM a row, by its name, id and UUIDs."""
    added = [field for field in table.columns if field in own.ADDED.values()]
    for field in added:
        place = table.sheet.place(table.header.number, table.columns[field])
        cause = f'"{table.headers[field]}" is taken for the column of a plan'
        table.note(place, cause, "Rename it if it is not.", error=False, code="column_added")
    records = list(table.records())
    for record, include in zip(records, own.included(table, records), strict=True):
        name = unescaped(record.value("vm_name", values.name, ""))
        vm_id = word(record.cell("vm_id"))
        uuid = word(record.cell("vm_uuid")) or ("" if vm_id else word(record.cell("instance_uuid")))
        if not (name or vm_id or uuid):
            continue
        record.doubt_number("vm_name", error=not (vm_id or uuid))
        yield Wanted(
            include=_moves(record) and include,
            vm_name=name,
            vm_id=vm_id,
            vm_uuid=uuid,
            vcenter_uuid=word(record.cell("vcenter_uuid")),
            described=describe(record),
            places=record.places,
            **own.read(record, added),
        )


def _moves(record: Record) -> bool:
    field, why = _stays(record)
    if why:
        cause = f"{why}: {word(record.cell('vm_name'))}"
        record.table.note(record.place(field), cause, "Nothing to do.", error=False, code="not_included")
    return not why


def unescaped(name: str) -> str:
    """vSphere has three characters of names as %2f, %5c and %25."""
    if "%" not in name:
        return name
    return re.sub("%(2f|5c|25)", lambda found: {"2f": "/", "5c": "\\", "25": "%"}[found[1].lower()], name, flags=re.I)
