"""Our own template: the sheet Plan, a row a VM, and the sheet Waves; a CSV has the first only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.plan import Gate, Problem, Wanted, WantedPlan, Wave
from app.domain.spelling import did_you_mean
from app.sheets import values
from app.sheets.columns import COLUMNS, STATE_COLUMNS, WAVE_COLUMNS
from app.sheets.known import role, squeezed
from app.sheets.table import Record, Table, find, listed, unknown_headers
from app.sheets.workbook import Cell, Sheet, Workbook

_IDENTITY = ("vm_name", "vm_id", "vm_uuid")
_FIELDS = {squeezed(column.header): column.field for column in COLUMNS} | {
    squeezed(column.field): column.field for column in COLUMNS
}
_WAVE_FIELDS = {squeezed(column.header): column.field for column in WAVE_COLUMNS} | {"name": "name"}
_LEFT_ALONE = [squeezed(column.header) for column in STATE_COLUMNS]
_MOST_WAVE_NAME = 60


def _chosen(field: str) -> Callable[[Cell], str]:
    """Any word is taken: whether it can be had is for the check to say. One of the list gets its spelling."""
    choices = next(column.choices for column in COLUMNS if column.field == field)
    known = {choice.casefold().replace("-", "_"): choice for choice in choices}

    def read(cell: Cell) -> str:
        word = values.name(cell)
        return known.get(word.casefold().replace("-", "_").replace(" ", "_"), word)

    return read


_READ: Mapping[str, tuple[Callable[[Cell], Any], Any]] = {
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


def understand(workbook: Workbook) -> WantedPlan | None:
    """None where no sheet has our columns."""
    table = _table(workbook)
    if table is None:
        return None
    _check_headers(table)
    table.check()
    rows = _rows(table)
    waves, places, problems = _waves(workbook)
    kind = "names" if set(table.columns) == {"vm_name"} else "plan"
    return WantedPlan(kind, rows, waves, places, (*table.problems, *problems))


def _table(workbook: Workbook) -> Table | None:
    """Of the sheet Plan; where none is called that, of the first one that has a VM's name or id under its header."""
    named = [sheet for sheet in workbook.sheets if role(sheet.name) == "plan"]
    for sheet in named or workbook.sheets:
        table = find(sheet, _FIELDS, lambda columns: any(field in columns for field in _IDENTITY))
        if table is not None:
            return table
    return None


def _check_headers(table: Table) -> None:
    missing = [column.header for column in COLUMNS if column.field not in table.columns]
    for place, header, twice in unknown_headers(table, _FIELDS, _LEFT_ALONE):
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
    included = _included(table, records)
    rows = []
    for record, include in zip(records, included, strict=True):
        if not any(values.is_number(cell) or cell for cell in map(record.cell, _IDENTITY)):
            table.note(
                record.place(), "the row names no VM", "Give a VM name or a VM id, or empty the row.", code="vm_missing"
            )
            continue
        read = {field: record.value(field, *_READ[field]) for field in table.columns if field in _READ}
        unsure = not any(record.cell(field) for field in ("vm_id", "vm_uuid"))
        for field, error in (("vm_name", unsure), ("vm_id", True), ("vm_uuid", True), ("target_name", False)):
            record.doubt_number(field, error=error)
        if any(read.get(field) for field in _IDENTITY):  # else it is told what is wrong with them
            rows.append(Wanted(include=include, places=record.places, **read))
    return tuple(rows)


def _included(table: Table, records: list[Record]) -> list[bool]:
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


def _waves(workbook: Workbook) -> tuple[tuple[Wave, ...], Mapping[str, str], list[Problem]]:
    sheet = next((sheet for sheet in workbook.sheets if role(sheet.name) == "waves"), None)
    table = find(sheet, _WAVE_FIELDS, lambda columns: "name" in columns) if sheet else None
    if table is None:
        return (), {}, _waves_unread(sheet)
    table.check()
    for place, header, _ in unknown_headers(table, _WAVE_FIELDS):
        fix = did_you_mean(header, [column.header for column in WAVE_COLUMNS])
        table.note(
            place, f'"{header}" is no column of waves: it is left alone', fix, error=False, code="column_unknown"
        )
    waves: dict[str, Wave] = {}
    places: dict[str, str] = {}
    for record in table.records():
        name = record.value("name", _wave_name, "")
        if not name:
            continue
        if name in waves:
            table.note(
                record.place("name"), f'the wave "{name}" is there twice', "Give each wave one row.", code="wave_twice"
            )
            continue
        waves[name] = Wave(
            name=name,
            starts_at=record.value("starts_at", values.time, None),
            ends_at=record.value("ends_at", values.time, None),
            at_once=record.value("at_once", lambda cell: values.whole(cell, 1, 1000), None),
            stop_after=record.value("stop_after", lambda cell: values.whole(cell, 1, 100_000), None),
            gate=Gate(record.value("gate", lambda cell: values.choice(cell, tuple(Gate)), "") or Gate.NONE),
        )
        places |= {f"{name}/{field}": record.place(field) for field in table.columns}
    return tuple(waves.values()), places, table.problems


def _waves_unread(sheet: Sheet | None) -> list[Problem]:
    if sheet is None or not sheet.rows:
        return []
    fix = f"Its headers are: {', '.join(column.header for column in WAVE_COLUMNS)}."
    return [Problem(sheet.place(sheet.rows[0].number), "no column wave is in this sheet", fix, code="column_missing")]


def _wave_name(cell: Cell) -> str:
    name = values.name(cell)
    if not name:
        raise values.Wrong("the wave has no name", "Give it one, or empty the row.")
    if len(name) > _MOST_WAVE_NAME:
        raise values.Wrong(f"a wave's name has at most {_MOST_WAVE_NAME} characters", "Shorten it.")
    return name
