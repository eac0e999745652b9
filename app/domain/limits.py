"""How fast a job may read from its source: bytes a second, with daily windows that say otherwise."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.domain.value import Value

Scope = Literal["service", "source", "job"]
Rate = Annotated[int, Field(ge=1000, le=10**15)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]  # "22:00"; sorts as it reads


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}: write one as Europe/Berlin") from error
    return name


class Window(Value):
    """A time of every day; one that ends before it starts goes over midnight. No rate: without limit."""

    start: TimeOfDay
    end: TimeOfDay
    bytes_per_second: Rate | None = None

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.start == self.end:
            raise ValueError("a window must not end when it starts")
        return self

    def covers(self, time: str) -> bool:
        if self.start < self.end:
            return self.start <= time < self.end
        return time >= self.start or time < self.end


class Limit(Value):
    """The first window that covers the time of day in `zone` decides, and outside of all `bytes_per_second`."""

    bytes_per_second: Rate | None = None
    windows: Annotated[tuple[Window, ...], Field(max_length=24)] = ()
    zone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)] = "UTC"

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.bytes_per_second is None and all(window.bytes_per_second is None for window in self.windows):
            raise ValueError("this limits nothing: give bytes_per_second, or a window with it")
        return self


class ScopedLimit(Limit):
    """A limit, and what all bytes of it are counted together for."""

    scope: Scope
    subject: str = ""  # a source's or a job's id


def rate_at(limit: Limit, now: datetime) -> int | None:
    """Bytes a second at an aware moment; None: without limit."""
    time = now.astimezone(ZoneInfo(limit.zone)).strftime("%H:%M")
    for window in limit.windows:
        if window.covers(time):
            return window.bytes_per_second
    return limit.bytes_per_second


def rate_text(rate: int | None) -> str:
    """A rate for people: "20 MB/s", "1.5 GB/s"; decimal, as networks are measured."""
    if rate is None:
        return "unlimited"
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if rate >= size:
            return f"{round(rate / size, 2):g} {unit}/s"
    return f"{rate} B/s"


def limit_text(limit: Limit) -> str:
    """ "200 MB/s from 22:00 to 06:00 Europe/Berlin, otherwise 20 MB/s"."""
    always = rate_text(limit.bytes_per_second)
    if not limit.windows:
        return always
    windows = (f"{rate_text(w.bytes_per_second)} from {w.start} to {w.end}" for w in limit.windows)
    return f"{', '.join(windows)} {limit.zone}, otherwise {always}"
