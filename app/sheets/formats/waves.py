"""The sheet Waves: a row a wave, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.plan import Gate, Problem, Wave
from app.domain.spelling import did_you_mean
from app.sheets import values
from app.sheets.columns import WAVE_COLUMNS
from app.sheets.known import role, squeezed
from app.sheets.table import find, unknown_headers
from app.sheets.workbook import Cell, Sheet, Workbook

_FIELDS = {squeezed(column.header): column.field for column in WAVE_COLUMNS} | {"name": "name"}
_MOST_NAME = 60


def waves_of(workbook: Workbook) -> tuple[tuple[Wave, ...], Mapping[str, str], tuple[Problem, ...]]:
    """They, where each of their fields stands, and what could not be read; nothing where there is no such sheet."""
    sheet = next((sheet for sheet in workbook.sheets if role(sheet.name) == "waves"), None)
    table = find(sheet, _FIELDS, lambda columns: "name" in columns) if sheet else None
    if table is None:
        return (), {}, tuple(_unread(sheet))
    table.check()
    for place, header, _ in unknown_headers(table, _FIELDS):
        fix = did_you_mean(header, [column.header for column in WAVE_COLUMNS])
        table.note(
            place, f'"{header}" is no column of waves: it is left alone', fix, error=False, code="column_unknown"
        )
    waves: dict[str, Wave] = {}
    places: dict[str, str] = {}
    for record in table.records():
        name = record.value("name", _name, "")
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
    return tuple(waves.values()), places, tuple(table.problems)


def _unread(sheet: Sheet | None) -> list[Problem]:
    if sheet is None or not sheet.rows:
        return []
    fix = f"Its headers are: {', '.join(column.header for column in WAVE_COLUMNS)}."
    return [Problem(sheet.place(sheet.rows[0].number), "no column wave is in this sheet", fix, code="column_missing")]


def _name(cell: Cell) -> str:
    name = values.name(cell)
    if not name:
        raise values.Wrong("the wave has no name", "Give it one, or empty the row.")
    if len(name) > _MOST_NAME:
        raise values.Wrong(f"a wave's name has at most {_MOST_NAME} characters", "Shorten it.")
    return name
