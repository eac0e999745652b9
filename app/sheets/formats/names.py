"""A plain list of names: one column, with or without a header."""

from __future__ import annotations

from app.domain.plan import Problem, Wanted, WantedPlan
from app.domain.spelling import plain
from app.sheets import values
from app.sheets.known import squeezed
from app.sheets.table import Places
from app.sheets.workbook import Sheet, Workbook

_HEADERS = frozenset(
    {
        "vm",
        "vms",
        "name",
        "names",
        "vmname",
        "vmnames",
        "hostname",
        "hostnames",
        "virtualmachine",
        "virtualmachines",
        "server",
        "servername",
    }
)


def understand(workbook: Workbook) -> WantedPlan | None:
    """None where the first sheet with anything in it has more than one column."""
    sheet = next((sheet for sheet in workbook.sheets if sheet.rows), None)
    if sheet is None or any(len(row.cells) != 1 for row in sheet.rows):
        return None
    rows: list[Wanted] = []
    problems: list[Problem] = []
    for row in sheet.rows:
        cell = row.cells[0]
        place = sheet.place(row.number, 0)
        if not rows and not problems and isinstance(cell, str) and squeezed(plain(cell)) in _HEADERS:
            continue
        try:
            name = values.name(cell)
        except values.Wrong as wrong:
            problems.append(Problem(place, wrong.cause, wrong.fix, code=wrong.code))
            continue
        if values.is_number(cell):
            problems.append(_number(place, name))
        if name:
            rows.append(Wanted(vm_name=name, places=Places(sheet, row.number, {"vm_name": 0})))
    problems += _hidden(sheet)
    return WantedPlan("names", tuple(rows), problems=tuple(problems)) if rows or problems else None


def _number(place: str, name: str) -> Problem:
    return Problem(
        place,
        f"{name} is a number: zeros that it began with are lost",
        "Format the column as text, and write the name anew.",
        code="name_is_number",
    )


def _hidden(sheet: Sheet) -> list[Problem]:
    hidden = [row.number for row in sheet.rows if row.number in sheet.hidden_rows]
    if not hidden:
        return []
    cause = f"{len(hidden)} hidden rows count too"
    return [Problem(sheet.place(hidden[0]), cause, "Delete those that shall not count.", "warning", "rows_hidden")]
