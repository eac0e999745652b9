"""When each wave would begin and end, and the windows that cannot hold it."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.plan import Wave
from app.services.assessments import Pace
from app.services.planning.drafts import Draft
from app.services.planning.judge import Size
from app.services.planning.report import Findings, WaveForecast
from app.services.planning.words import said

LONGEST_S = 100 * 365 * 86400.0  # what an absurd size or pace is cut to, so that dates stay dates


@dataclass(frozen=True)
class Times:
    """What an estimate stands on. `slots`: moves at the same time, where a wave says nothing."""

    now: datetime
    paces: Mapping[str, Pace]  # by the target's id
    slots: int


def check_windows(
    waves: Sequence[Wave],
    drafts: Sequence[Draft],
    sizes: Mapping[str, Size],
    times: Times,
    wave_places: Mapping[str, str],
    found: Findings,
) -> tuple[WaveForecast, ...]:
    """A forecast of each wave that has something to move. `drafts` in the order in which they start."""
    of_wave: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.open:
            of_wave[draft.item.wave].append(draft)
    forecasts: list[WaveForecast] = []
    for wave in waves:
        members = of_wave[wave.name]
        if not members:
            continue
        before = forecasts[-1] if forecasts else None
        forecast = _forecast(wave, members, sizes, times, before)
        _window(wave, forecast, before, times, wave_places, members[0], found)
        for draft in members:
            _cutover(draft, wave, times, found)
        forecasts.append(forecast)
    return tuple(forecasts)


def _forecast(
    wave: Wave, members: Sequence[Draft], sizes: Mapping[str, Size], times: Times, before: WaveForecast | None
) -> WaveForecast:
    begins = max(times.now, wave.starts_at or times.now)
    if before:
        begins = max(begins, before.done_at)
    slots = [0.0] * min(wave.at_once or times.slots, len(members))
    done = 0.0
    for draft in members:
        at = heapq.heappop(slots)
        if draft.item.cutover_at:
            at = max(at, (draft.item.cutover_at - begins).total_seconds())
        heapq.heappush(slots, end := min(at + _seconds(draft, sizes, times), LONGEST_S))
        done = max(done, end)
    done_at = begins + timedelta(seconds=done)
    return WaveForecast(
        name=wave.name,
        vms=len(members),
        bytes=sum(_bytes(draft, sizes) for draft in members),
        seconds=round(done, 1),
        starts_at=wave.starts_at,
        ends_at=wave.ends_at,
        begins_at=begins,
        done_at=done_at,
        fits=wave.ends_at is None or done_at <= wave.ends_at,
    )


def _seconds(draft: Draft, sizes: Mapping[str, Size], times: Times) -> float:
    pace = times.paces.get(draft.to.id) if draft.to else None
    return _bytes(draft, sizes) / pace.bytes_a_second + pace.rest_s if pace else 0.0


def _bytes(draft: Draft, sizes: Mapping[str, Size]) -> int:
    size = sizes.get(draft.item.key)
    return size.disk_bytes if size else 0


def _window(
    wave: Wave,
    forecast: WaveForecast,
    before: WaveForecast | None,
    times: Times,
    places: Mapping[str, str],
    first: Draft,
    found: Findings,
) -> None:
    if wave.ends_at is None:
        return
    name = said(wave.name)
    place = places.get(f"{wave.name}/ends_at") or first.place("wave")
    if wave.starts_at and wave.ends_at <= wave.starts_at:
        found.error(
            place,
            "window_empty",
            f"the wave {name} ends at {when(wave.ends_at)}, before it starts at {when(wave.starts_at)}",
            "Let it end after it has started.",
        )
    elif wave.ends_at <= times.now:
        found.error(
            place,
            "window_is_over",
            f"the wave {name} ended at {when(wave.ends_at)}, and {forecast.vms} of its VMs were not started",
            "Give it a later end, or none.",
        )
    elif before and before.starts_at and wave.ends_at <= before.starts_at:
        found.error(
            place,
            "window_too_early",
            f"the wave {name} ends at {when(wave.ends_at)}, and the wave before it, {said(before.name)}, starts only"
            f" at {when(before.starts_at)}",
            "Waves run in the order in which they are listed: change their times, or their order.",
        )
    elif not forecast.fits:
        found.warning(
            place,
            "window_too_short",
            f"the wave {name} would begin at {when(forecast.begins_at)} and be done at {when(forecast.done_at)},"
            f" {span((forecast.done_at - wave.ends_at).total_seconds())} after its end: {forecast.vms} VMs take"
            f" about {span(forecast.seconds)}",
            "Make the window longer, raise 'at once', or put some of them into another wave.",
        )


def _cutover(draft: Draft, wave: Wave, times: Times, found: Findings) -> None:
    at, name = draft.item.cutover_at, draft.item.vm_name
    if at is None:
        return
    if wave.ends_at and at >= wave.ends_at:
        found.error(
            draft.place("cutover_at"),
            "cutover_outside_window",
            f"{name} shall not be shut down before {when(at)}, when its wave {said(wave.name)} has ended"
            f" ({when(wave.ends_at)})",
            "Choose an earlier time, or a wave that ends later.",
        )
    elif wave.starts_at and at < wave.starts_at:
        found.warning(
            draft.place("cutover_at"),
            "cutover_outside_window",
            f"{name} shall be shut down from {when(at)} on, and its wave {said(wave.name)} starts only at"
            f" {when(wave.starts_at)}",
            "It starts with its wave.",
        )
    elif at < times.now:
        found.warning(
            draft.place("cutover_at"), "cutover_is_over", f"{when(at)} has passed: {name} starts with its wave"
        )


def when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def span(seconds: float) -> str:
    """ "3 h 20 min", "45 min", "20 s"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
