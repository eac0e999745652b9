"""What is planned as cells, one for each column: what reading makes values of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from app.domain.plan import Wanted, Wave
from app.sheets.columns import COLUMNS, WAVE_COLUMNS
from app.sheets.words import join, join_pairs

Written = str | int | float | bool | None

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def row_cells(row: Wanted) -> list[Written]:
    return [written(column.field, getattr(row, column.field)) for column in COLUMNS]


def wave_cells(wave: Wave) -> list[Written]:
    return [written(column.field, getattr(wave, column.field)) for column in WAVE_COLUMNS]


def written(field: str, value: object) -> Written:
    """A value of a field of Wanted or Wave; None for what is not said. Raises TypeError for what no field has."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return size(int(value)) if field.endswith("_bytes") else value
    if isinstance(value, str):  # a name may be anything: who it is, its id says
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value) if field == "vm_name" else str(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return join_pairs(value) or None
    if isinstance(value, tuple):
        return join(value) or None
    raise TypeError(f"no cell for a {type(value).__name__} of {field}")


def size(count: int) -> str:
    """8 GiB: in the largest unit of which they are a whole number."""
    unit, factor = next(((unit, factor) for unit, factor in _UNITS if count and count % factor == 0), ("B", 1))
    return f"{count // factor} {unit}"


def moment(at: datetime) -> str:
    """2026-12-05 21:00 UTC; with seconds, and their fractions, only where there are some."""
    utc = at.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(" ", "auto" if utc.second or utc.microsecond else "minutes") + " UTC"
