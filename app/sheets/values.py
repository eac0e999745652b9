"""What one cell says: numbers, yes or no, sizes, times. Each function takes any cell; an empty one is None or "".

Raises Wrong, which says the cause and the fix; whoever knows the place makes a Problem of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

from app.domain.plan import YEARS
from app.domain.spelling import did_you_mean, one_name, plain
from app.sheets.words import split, split_pairs
from app.sheets.workbook import Cell, Fault, Moment

MIB = 1 << 20
_UNITS = {  # bytes
    **dict.fromkeys(("B",), 1),
    **dict.fromkeys(("K", "KB", "KIB"), 1 << 10),
    **dict.fromkeys(("", "M", "MB", "MIB"), MIB),
    **dict.fromkeys(("G", "GB", "GIB"), 1 << 30),
    **dict.fromkeys(("T", "TB", "TIB"), 1 << 40),
}
_EXACT_UNITS = ("B", "K", "KB", "KIB")
_MOST_MEMORY = 64 << 40
_YES = frozenset({"yes", "y", "true", "1", "x"})
_NO = frozenset({"no", "n", "false", "0"})
_TIME_FIX = "Write it as text with its zone: 2026-12-05 22:00 Europe/Berlin, or 2026-12-05T22:00+01:00."
_TIME = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?\s*"
    r"(?:([+-])(\d{2}):?(\d{2})|([A-Za-z].*))?"
)
_SIZE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([A-Za-z]*)")
_SHOWN = 60

T = TypeVar("T")


class Wrong(ValueError):
    def __init__(self, cause: str, fix: str = "", code: str = "invalid_value") -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix
        self.code = code


def text(cell: Cell) -> str:
    """One spelling of what it shows; a number that is whole has no ".0"."""
    return plain(_written(cell))


def remark(cell: Cell) -> str:
    """Exactly what it shows: of notes, nothing is taken off."""
    return _written(cell)


def _written(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case Fault(""):
            raise Wrong(
                "its formula has no stored value", "Open it in a spreadsheet program and save it, or write the value."
            )
        case Fault():
            raise Wrong(f"its formula failed ({cell.text})", "Write the value itself.")
        case Moment():
            raise Wrong(
                f"it is a date ({cell.text}), which spreadsheet programs make of what looks like one",
                "Format the cell as text, and write the value anew.",
            )
        case float():
            return f"{cell:.15g}"
        case _:
            return str(cell)


def name(cell: Cell) -> str:
    """Of one line, without control characters."""
    try:
        return one_name(_written(cell))
    except Wrong:
        raise
    except ValueError as error:
        raise Wrong(str(error), "Write it in one line, without such characters.") from error


def is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def whole(cell: Cell, least: int = 0, most: int = 1_000_000) -> int | None:
    """1234, 1234.0 and "1234.0" are the same; 12.5 is wrong."""
    if cell is None:
        return None
    written = text(cell)
    if not written:
        return None
    fix = f"Write a whole number from {least:,} to {most:,}."
    found = re.fullmatch(r"([+-]?\d{1,18})(?:[.,]0+)?", written)
    if found is None or isinstance(cell, bool):
        raise Wrong(f"{_quoted(written)} is no whole number", fix)
    number = int(found[1])
    if not least <= number <= most:
        raise Wrong(f"{number} is too {'small' if number < least else 'large'}", fix)
    return number


def yes_no(cell: Cell) -> bool | None:
    written = text(cell).casefold()
    if written in _YES:
        return True
    if written in _NO:
        return False
    if not written:
        return None
    raise Wrong(f"{_quoted(written)} is neither yes nor no", "Write yes or no.")


def choice(cell: Cell, choices: Iterable[str]) -> str:
    """As it is in `choices`, in any case, with any blanks, - or _ between words."""
    written = name(cell)
    known = {_joined(word): word for word in choices}
    if not written or _joined(written) in known:
        return known[_joined(written)] if written else ""
    fix = f"Write one of: {', '.join(known.values())}. {did_you_mean(written, known.values())}".strip()
    raise Wrong(f"{_quoted(written)} is not known here", fix)


def memory(cell: Cell) -> int | None:
    """Bytes of "8192" (MiB), "8 GiB", "1,5 GiB"; GB is taken as GiB, as vCenter has it."""
    if cell is None:
        return None
    written = text(cell)
    if not written:
        return None
    found = _SIZE.fullmatch(written)
    if found is None or isinstance(cell, bool) or found[2].upper() not in _UNITS:
        raise Wrong(f"{_quoted(written)} is no size", "Write it in MiB, or with a unit: 8192, 8192 MiB, 8 GiB.")
    size = Decimal(found[1].replace(",", ".")) * _UNITS[found[2].upper()]
    if size % (1 if found[2].upper() in _EXACT_UNITS else MIB) or not 1 <= size <= _MOST_MEMORY:
        raise Wrong(
            f"{_quoted(written)} is {size / MIB:.6g} MiB, which is no whole number of MiB from 1 to 64 TiB",
            "Write it without a separator of thousands: 8192, or 8 GiB.",
        )
    return int(size)


def words(cell: Cell) -> tuple[str, ...]:
    """Separated by ";" or line breaks."""
    return tuple(map(plain, _split(cell, split)))


def pairs(cell: Cell) -> Mapping[str, str]:
    """Name=value, separated by ";" or line breaks."""
    return {plain(key): plain(value) for key, value in _split(cell, split_pairs).items()}


def _split(cell: Cell, how: Callable[[str], T]) -> T:
    try:
        return how(_written(cell))
    except Wrong:
        raise
    except ValueError as error:
        raise Wrong(
            str(error), 'Separate them by ";"; what has ; = or quotes in it stands in double quotes.'
        ) from error


def time(cell: Cell) -> datetime | None:
    """In UTC. A time without a zone, and one that a zone does not have or has twice, is wrong."""
    if cell is None:
        return None
    if isinstance(cell, Moment):
        raise Wrong("a date cell has no zone", _with_zone(cell.text), "time_without_zone")
    if is_number(cell):
        raise Wrong(f"{text(cell)} is a number", _with_zone(_from_serial(cell)), "time_without_zone")
    written = text(cell)
    if not written:
        return None
    found = _TIME.fullmatch(written)
    if found is None:
        raise Wrong(f"{_quoted(written)} is no time", _TIME_FIX)
    year, month, day, hour, minute, second, fraction, sign, hours, minutes, zone = found.groups()
    try:
        local = datetime(*map(int, (year, month, day, hour, minute, second or 0, (fraction or "0").ljust(6, "0"))))  # type: ignore[arg-type]
    except ValueError as error:
        raise Wrong(f"{_quoted(written)} is no time: {error}", _TIME_FIX) from error
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
        if abs(offset) > timedelta(hours=14) or int(minutes) > 59:
            raise Wrong(f"{sign}{hours}:{minutes} is no offset of a zone", _TIME_FIX)
        return _in_utc(local, offset)
    if not zone:
        raise Wrong(f"{_quoted(written)} has no zone", _with_zone(written), "time_without_zone")
    return _in_zone(local, zone.strip())


def _in_zone(local: datetime, zone: str) -> datetime:
    key = _zones().get(zone.casefold())
    if key is None:
        fix = did_you_mean(zone, _zones().values()) or "Write a zone as Europe/Berlin, America/New_York or UTC."
        raise Wrong(f"{_quoted(zone)} is no zone that is known here", fix, "zone_unknown")
    place = ZoneInfo(key)
    offsets = [local.replace(tzinfo=place, fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    if offsets[0] == offsets[1]:
        return _in_utc(local, offsets[0])
    shown = f"{local:%Y-%m-%d %H:%M} in {key}"
    if offsets[0] < offsets[1]:  # the clocks skip it
        later = local + (offsets[1] - offsets[0])
        raise Wrong(
            f"{shown} does not exist: clocks go forward then",
            f"Write {later:%Y-%m-%d %H:%M} {key}, or another.",
            "time_skipped",
        )
    either = " or ".join(f"{local:%Y-%m-%dT%H:%M}{_shown_offset(offset)}" for offset in offsets)
    raise Wrong(f"{shown} comes twice: clocks go back then", f"Write {either}.", "time_twice")


def _in_utc(local: datetime, offset: timedelta) -> datetime:
    try:
        moment = (local - offset).replace(tzinfo=UTC)
    except OverflowError as error:
        raise Wrong("it is outside of what a calendar has", _TIME_FIX) from error
    if moment.year not in YEARS:
        raise Wrong(
            f"the year {moment.year} is not one from {YEARS[0]} to {YEARS[-1]}", "Write the year that is meant."
        )
    return moment


@cache
def _zones() -> Mapping[str, str]:
    return {"z": "UTC", **{key.casefold(): key for key in sorted(available_timezones())}}


def _shown_offset(offset: timedelta) -> str:
    minutes = int(offset.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _with_zone(shown: str) -> str:
    found = re.match(r"(\d{4}-\d\d?-\d\d?)(?:[T ]+(\d\d?:\d\d))?", shown)
    if found is None:
        return _TIME_FIX
    return f"Write it as text with its zone, as: {found[1]} {found[2] or '22:00'} Europe/Berlin."


def _from_serial(cell: Cell) -> str:
    """What a spreadsheet program would show for the number, if it is a likely date."""
    if isinstance(cell, int | float) and 36526 <= cell < 73051:  # 2000 to 2099
        return f"{datetime(1899, 12, 30) + timedelta(minutes=round(cell * 1440)):%Y-%m-%d %H:%M}"
    return ""


def _joined(word: str) -> str:
    return re.sub(r"[\s_-]+", "_", word.casefold())


def _quoted(written: str) -> str:
    return repr(written if len(written) <= _SHOWN else written[: _SHOWN - 1] + "…")
