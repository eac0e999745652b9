"""How values are told to people: sizes, times, and what each state's colour is. Every colour goes with its word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from markupsafe import Markup

from app.domain.models import StepRecord
from app.domain.plan import Problem

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

TONES = {
    "good": ("succeeded", "reached", "same", "ok", "ready", "approved"),
    "busy": ("running", "rolling_back"),
    "warn": ("paused", "held", "warning", "with_warnings", "changed", "locked", "missing", "undoing", "stopping"),
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


def same_together(problems: Iterable[Problem]) -> list[tuple[str, str, list[str]]]:
    """(cause, fix, places): what is wrong in the same way at many cells is told once."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        found.setdefault((problem.cause, problem.fix), []).append(problem.place)
    return [(cause, fix, [place for place in places if place]) for (cause, fix), places in found.items()]


def runs(steps: Sequence[StepRecord]) -> tuple[tuple[str, int], ...]:
    """(tone, how many) of steps of one tone that follow each other; "skip" for what was left out."""
    tones = ("skip" if step.state == "skipped" else tone(step.state) for step in steps)
    return tuple((kind, len(list(same))) for kind, same in groupby(tones))


def steps_told(steps: Sequence[StepRecord]) -> str:
    """ "3 of 8 steps done, convert failed"."""
    done = sum(step.state in ("succeeded", "skipped") for step in steps)
    now = next((f", {word(s.name)} {word(s.state)}" for s in steps if s.state in ("running", "paused", "failed")), "")
    return f"{done} of {len(steps)} steps done{now}"


_ORDER = ("good", "busy", "warn", "bad", "gone", "idle")


def by_tone(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """States and how many, in the order of the parts of a bar."""
    return sorted(counts.items(), key=lambda pair: _ORDER.index(tone(pair[0])))


def bar_parts(counts: Mapping[Any, int]) -> list[tuple[str, int]]:
    """(tone, how many) of states, what is good first: the parts of a bar."""
    return [(kind, sum(n for state, n in counts.items() if tone(state) == kind)) for kind in _ORDER]


def told(counts: Mapping[Any, int]) -> str:
    """ "3 running, 12 succeeded"."""
    return ", ".join(f"{number} {word(state)}" for state, number in by_tone(counts))


FILTERS: dict[str, Callable[..., Any]] = {
    "tone": tone,
    "word": word,
    "size": size,
    "duration": duration,
    "moment": moment,
    "until": until,
    "count": count,
    "percent": percent,
    "few": few,
    "bar_parts": bar_parts,
    "by_tone": by_tone,
    "told": told,
    "runs": runs,
    "same_together": same_together,
    "steps_told": steps_told,
}
