"""A plan's workbook filled in as somebody would, by another tool than ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl


def fill(sheet: Path, rows: Mapping[str, Mapping[str, Any]], waves: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write into the file: `rows`, by VM name and header, and `waves` in the place of those that it has."""
    book = openpyxl.load_workbook(sheet)
    plan = book["Plan"]
    columns = {cell.value: cell.column for cell in plan[1]}
    for number in range(2, plan.max_row + 1):
        for header, value in rows.get(str(plan.cell(number, columns["VM name"]).value), {}).items():
            plan.cell(number, columns[header]).value = value
    if waves:
        table = book["Waves"]
        columns = {cell.value: cell.column for cell in table[1]}
        table.delete_rows(2, table.max_row)
        for number, wave in enumerate(waves, start=2):
            for header, value in wave.items():
                table.cell(number, columns[header]).value = value
    book.save(sheet)
