"""The waves of a plan in time: their windows, what they took so far, and what they are expected to take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from app.domain.plan import Gate
from app.services.assessments import BYTES_A_SECOND, REST_S
from app.services.plan_standing import Standing, WaveStanding
from app.web.words import count, size

Span = tuple[datetime, datetime]
_STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 43200)
)
_TICKS = 8
_LEAST = timedelta(minutes=30)


class Lane(NamedTuple):
    """A wave. Spans are (start, width) in percent of the chart's width. `gate`: "open_me" where a person has to."""

    name: str
    state: str
    said: str
    told: str
    gate: str
    window: tuple[str, str] | None
    spent: tuple[str, str] | None
    expected: tuple[str, str] | None


class Chart(NamedTuple):
    """`now` and the places of ticks are percent of its width."""

    lanes: Sequence[Lane]
    ticks: Sequence[tuple[str, str]]
    now: str
    now_said: str


def chart(it: Standing, slots: int, now: datetime) -> Chart:
    """`slots`: how many moves go on at the same time."""
    expected = _expected(it, slots, now)
    moments = [now, now + _LEAST / 2]
    for wave, then in zip(it.waves, expected, strict=True):
        moments += [at for at in (wave.started_at, wave.ended_at, wave.wave.starts_at, wave.wave.ends_at) if at]
        moments += then or ()
    start, end = min(moments), max(moments)
    room = max(end - start, _LEAST) * 0.02
    start, end = start - room, max(end, start + _LEAST) + room

    def place(at: datetime) -> str:
        return f"{100 * (at - start) / (end - start):.2f}"

    def span(first: datetime, last: datetime) -> tuple[str, str]:
        return place(first), f"{max(0.4, 100 * (last - first) / (end - start)):.2f}"

    lanes = []
    for wave, then in zip(it.waves, expected, strict=True):
        window = None
        if wave.wave.starts_at or wave.wave.ends_at:
            window = span(wave.wave.starts_at or start, wave.wave.ends_at or end)
        begun = wave.started_at
        lanes.append(
            Lane(
                name=wave.wave.name,
                state=wave.state,
                said=_said(wave),
                told=_told(wave, then),
                gate=_gate(wave),
                window=window,
                spent=span(begun, wave.ended_at or now) if begun else None,
                expected=span(*then) if then else None,
            )
        )
    ticks = [(place(at), said) for at, said in _ticks(start, end)]
    return Chart(lanes, ticks, place(now), f"{now:%H:%M}")


def _expected(it: Standing, slots: int, now: datetime) -> list[Span | None]:
    """From now on, one wave after the other; by the rate of now, or by what a move is taken to need."""
    found: list[Span | None] = []
    free = now
    for wave in it.waves:
        left = wave.amount.left
        waiting = sum(number for state, number in wave.counts.items() if state in ("waiting", "queued", "running"))
        if wave.ended_at or not waiting:
            found.append(None)
            continue
        at_once = min(slots, wave.wave.at_once or slots)
        rate = it.rate if it.rate and wave.state == "running" else BYTES_A_SECOND * at_once
        begin = max(free, wave.wave.starts_at or free)
        free = begin + timedelta(seconds=left / rate + REST_S * -(-waiting // at_once))
        found.append((begin, free))
    return found


def _gate(wave: WaveStanding) -> str:
    match wave.wave.gate:
        case Gate.MANUAL if wave.wave.approved_at:
            return f"approved {wave.wave.approved_at:%d %b %H:%M}"
        case Gate.MANUAL:
            return "open_me"
        case Gate.ALL_GREEN:
            return "starts when all before it has succeeded"
        case _:
            return ""


def _said(wave: WaveStanding) -> str:
    words = [count(sum(wave.counts.values()), "VM"), size(wave.amount.total)]
    if wave.wave.at_once:
        words.append(f"{wave.wave.at_once} at once")
    if wave.wave.stop_after:
        words.append(f"stops after {count(wave.wave.stop_after, 'failure')}")
    return ", ".join(words)


def _told(wave: WaveStanding, then: Span | None) -> str:
    """The lane in words."""
    words = [f"Wave {wave.wave.name}: {wave.state}"]
    for name, at in (
        ("its window opens", wave.wave.starts_at),
        ("its window closes", wave.wave.ends_at),
        ("started", wave.started_at),
        ("ended", wave.ended_at),
        ("expected to start", then[0] if then and not wave.started_at else None),
        ("expected to end", then[1] if then else None),
    ):
        words += [f"{name} {at:%d %b %H:%M}"] if at else []
    return ", ".join(words)


def _ticks(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    step = next((step for step in _STEPS if (end - start) / step <= _TICKS), _STEPS[-1])
    form = "%H:%M" if step < timedelta(days=1) else "%d %b"
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * -(-(start - midnight) // step)
    found: list[tuple[datetime, str]] = []
    while at < end:
        new_day = at.hour == at.minute == 0 or not found
        found.append((at, f"{at:%d %b %H:%M}" if new_day and step < timedelta(days=1) else f"{at:{form}}"))
        at += step
    return found
