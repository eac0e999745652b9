"""How values are told to people: sizes, times, and what each state's colour is. Every colour goes with its word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from markupsafe import Markup

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

TONES = {
    "good": ("succeeded", "reached", "same", "ok", "ready", "approved"),
    "busy": ("running", "rolling_back", "started"),
    "warn": ("paused", "held", "warning", "with_warnings", "changed", "locked", "missing", "pausing", "stopping"),
    "bad": ("failed", "rollback_failed", "error", "blocker", "blocked"),
    "gone": ("cancelled", "rolled_back", "undone"),
}
_TONE_OF = {state: tone for tone, states in TONES.items() for state in states}


def tone(state: object) -> str:
    """The class of a state's colour: good | busy | warn | bad | gone, or idle for what waits or is skipped."""
    return _TONE_OF.get(str(state), "idle")


def word(state: object) -> str:
    """ "rolling back" of "rolling_back": the words of the API and the command line, as one reads them."""
    return str(state).replace("_", " ")


def is_busy(state: object) -> bool:
    return tone(state) == "busy"


def size(count: float | None) -> str:
    """1536 → "1.5 KiB"."""
    if count is None:
        return "–"
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """75 → "1 min 15 s", 4000 → "1 h 07 min", 200000 → "2 d 7 h"."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {rest:02} s" if minutes < 10 else f"{minutes} min"
    return f"{whole} s" if whole or not seconds else f"{seconds:.1f} s"


def moment(at: datetime | None, form: str = "day") -> str:
    """A time element in UTC, which the page says once. form: day | clock | full."""
    if at is None:
        return "–"
    said = {"day": "%d %b %H:%M", "clock": "%H:%M:%S", "full": "%Y-%m-%d %H:%M:%S"}[form]
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M:%S"), at.strftime(said)
    )


def until(at: datetime, now: datetime) -> str:
    """ "in 2 h 10 min", "5 min ago"."""
    left = (at - now).total_seconds()
    return f"in {duration(left)}" if left >= 0 else f"{duration(-left)} ago"


def count(number: int, one: str, many: str = "") -> str:
    """ "1 VM", "3 VMs"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> str:
    """For an SVG of 100 units: never more than that, and no more digits than a screen shows."""
    return f"{min(100.0, 100 * part / whole):.4g}" if whole > 0 else "0"


def few(names: Iterable[object], limit: int = 3) -> str:
    listed = [str(name) for name in names]
    more = len(listed) - limit
    return ", ".join(listed) if more <= 0 else f"{', '.join(listed[:limit])} and {more} more"


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


FILTERS: dict[str, Callable[..., str]] = {
    "tone": tone,
    "word": word,
    "size": size,
    "duration": duration,
    "moment": moment,
    "until": until,
    "count": count,
    "percent": percent,
    "few": few,
    "pretty": pretty,
}
