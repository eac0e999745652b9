"""Our own columns, which stand in our template, and which people add to the sheets of inventory tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.sheets import values
from app.sheets.columns import COLUMNS
from app.sheets.known import squeezed
from app.sheets.table import Record, Table, listed
from app.sheets.workbook import Cell

IDENTITY = ("vm_name", "vm_id", "vm_uuid")
FIELDS = {squeezed(column.header): column.field for column in COLUMNS} | {
    squeezed(column.field): column.field for column in COLUMNS
}
# A tool's own columns of such names tell what is, not what shall be.
_TOLD = (*IDENTITY, "source", "cpus", "memory_bytes")
ADDED = {squeezed(column.header): column.field for column in COLUMNS if column.field not in _TOLD}


def _chosen(field: str) -> Callable[[Cell], str]:
    """Any word is taken: whether it can be had is for the check to say. One of the list gets its spelling."""
    choices = next(column.choices for column in COLUMNS if column.field == field)
    known = {choice.casefold().replace("-", "_"): choice for choice in choices}

    def read(cell: Cell) -> str:
        word = values.name(cell)
        return known.get(word.casefold().replace("-", "_").replace(" ", "_"), word)

    return read


READ: Mapping[str, tuple[Callable[[Cell], Any], Any]] = {
    "wave": (values.name, ""),
    "order": (lambda cell: values.whole(cell, -1_000_000), None),
    "source": (values.name, ""),
    "vm_name": (values.name, ""),
    "vm_id": (values.name, ""),
    "vm_uuid": (values.name, ""),
    "target": (values.name, ""),
    "target_name": (values.name, ""),
    "strategy": (_chosen("strategy"), ""),
    "pool": (values.name, ""),
    "format": (_chosen("format"), ""),
    "networks": (values.pairs, {}),
    "keep_mac": (values.yes_no, None),
    "cpus": (lambda cell: values.whole(cell, 1, 4096), None),
    "memory_bytes": (values.memory, None),
    "profile": (_chosen("profile"), ""),
    "cutover_at": (values.time, None),
    "power_on": (values.yes_no, None),
    "test_first": (values.yes_no, None),
    "group": (values.name, ""),
    "depends_on": (values.words, ()),
    "owner": (values.remark, ""),
    "notes": (values.remark, ""),
}


def read(record: Record, fields: Iterable[str]) -> dict[str, Any]:
    """What the row says of those fields, as Wanted has them; `include` is not one row's alone: `included`."""
    return {field: record.value(field, *READ[field]) for field in fields if field in READ}


def included(table: Table, records: list[Record]) -> list[bool]:
    """Where some rows say it and others do not, the others stay where they are: nothing is moved by a slip."""
    said = [_include(record) for record in records]
    silent = [record for record, answer in zip(records, said, strict=True) if answer is None]
    if silent and len(silent) < len(records):
        table.note(
            silent[0].place("include"),
            f"nothing is said here, and so these rows are not included: {listed([one.row.number for one in silent])}",
            "Write yes or no into each.",
            error=False,
            code="include_missing",
        )
    return [len(silent) == len(records) if answer is None else answer for answer in said]


def _include(record: Record) -> bool | None:
    if "include" not in record.table.columns:
        return None
    wrong: bool | None = False
    return record.value("include", values.yes_no, wrong)
