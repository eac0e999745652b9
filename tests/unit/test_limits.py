"""Limits: daily windows, token buckets, and how people write rates. Nothing here sleeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.cli.exits import CliError
from app.cli.rates import parse_limit, parse_rate
from app.domain.limits import Limit, ScopedLimit, Window, limit_text, rate_at, rate_text
from workers.transfer.throttle import BURST_S, Bucket, LimitsWatcher, Throttles

MB = 10**6
NIGHT = Window(start="22:00", end="06:00", bytes_per_second=200 * MB)


def limit(**fields: Any) -> Limit:
    return Limit.model_validate({"bytes_per_second": 20 * MB, "windows": (NIGHT,), "zone": "Europe/Berlin"} | fields)


def at(hour: int, minute: int = 0, month: int = 1) -> datetime:
    return datetime(2026, month, 15, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "rate"),
    [
        (at(12), 20),
        (at(20, 59), 20),
        (at(21), 200),  # 22:00 in Berlin
        (at(3), 200),
        (at(4, 59), 200),
        (at(5), 20),
        (at(20, month=7), 200),  # summer time
        (at(19, 59, month=7), 20),
        (at(4, month=7), 20),
    ],
)
def test_a_window_is_of_its_zone_and_goes_over_midnight(now: datetime, rate: int) -> None:
    assert rate_at(limit(), now) == rate * MB


def test_the_first_window_that_covers_decides() -> None:
    noon = Window(start="12:00", end="13:00")
    both = limit(windows=(noon, Window(start="08:00", end="18:00", bytes_per_second=5 * MB)), zone="UTC")
    assert [rate_at(both, at(hour)) for hour in (7, 9, 12, 18)] == [20 * MB, 5 * MB, None, 20 * MB]
    assert rate_at(limit(bytes_per_second=None), at(12)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"zone": "Europe/Atlantis"},
        {"zone": "../../etc/passwd"},
        {"zone": "Europe"},
        {"zone": ""},
        {"bytes_per_second": 0},
        {"bytes_per_second": None, "windows": ()},
        {"bytes_per_second": None, "windows": ({"start": "01:00", "end": "02:00"},)},
        {"windows": ({"start": "01:00", "end": "01:00", "bytes_per_second": MB},)},
        {"windows": ({"start": "1:00", "end": "02:00", "bytes_per_second": MB},)},
        {"windows": ({"start": "22:00", "end": "24:00", "bytes_per_second": MB},)},
        {"windows": ({"start": "22:00", "end": "23:60", "bytes_per_second": MB},)},
        {"windows": ({"start": "22:00", "end": "23:00", "bytes_per_second": -1},)},
    ],
)
def test_limits_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        limit(**fields)


def test_limits_for_people() -> None:
    assert limit_text(limit()) == "200 MB/s from 22:00 to 06:00 Europe/Berlin, otherwise 20 MB/s"
    assert limit_text(limit(windows=())) == "20 MB/s"
    assert [rate_text(rate) for rate in (None, 1500, 1_250_000, 125 * MB, 1250 * MB)] == [
        "unlimited",
        "1.5 kB/s",
        "1.25 MB/s",
        "125 MB/s",
        "1.25 GB/s",
    ]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("200MB/s", 200 * MB),
        ("50MiB/s", 50 << 20),
        ("1Gbit/s", 125 * MB),
        ("2.5 Mbit/s", 312_500),
        ("1000B/s", 1000),
        ("unlimited", None),
    ],
)
def test_rates_as_people_write_them(text: str, rate: int | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "200", "200MB", "mb/s", "-1MB/s", "1e9B/s", "1mb/s", "1Mb/s", "1,5MB/s", "nan/s"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(CliError) as caught:
        parse_rate(text)
    assert "MB/s" in caught.value.hint


def test_windows_as_people_write_them() -> None:
    body = parse_limit("20MB/s", ["22:00-06:00=200MB/s", "12:00-13:00=unlimited"], "Europe/Berlin")
    parsed = Limit.model_validate(body)
    assert parsed.windows == (NIGHT, Window(start="12:00", end="13:00"))
    assert parse_limit("20MB/s") == {"bytes_per_second": 20 * MB, "windows": []}
    for windows, zone in ((["22:00-06:00=200MB/s"], ""), ([], "UTC"), (["22-6=1MB/s"], "UTC"), (["x"], "UTC")):
        with pytest.raises(CliError):
            parse_limit("20MB/s", windows, zone)


# ---- buckets


def passed(bucket: Bucket, seconds: float, piece: int, start: float = 0.0) -> int:
    """Bytes that pass in so many seconds, when somebody always wants more."""
    now, count = start, 0
    while (now := now + bucket.wait_s(now) + 1e-9) < start + seconds:
        bucket.spend(piece, now)
        count += piece
    return count


@given(rate=st.integers(1000, 10**10), share=st.floats(0.001, 1), idle=st.floats(0, 100))
def test_never_more_passes_than_the_rate_and_a_small_burst(rate: int, share: float, idle: float) -> None:
    bucket = Bucket(rate, 0.0)
    piece = max(1, int(rate * BURST_S * share))
    count = passed(bucket, 1.0, piece, start=idle)
    assert 0.99 * rate - piece <= count <= rate * (1 + BURST_S) + piece


def test_a_new_rate_acts_at_once_and_an_old_debt_does_not_outlast_it() -> None:
    bucket = Bucket(100 * MB, 0.0)
    bucket.spend(8 * MB, 0.0)
    assert bucket.wait_s(0.0) == pytest.approx(0.08)
    bucket.set_rate(1 * MB, 0.0)
    assert bucket.wait_s(0.0) == pytest.approx(BURST_S)
    bucket.set_rate(None, 0.0)
    assert bucket.wait_s(0.0) == 0
    bucket.spend(1 << 40, 0.0)
    bucket.set_rate(1 * MB, 5.0)
    assert bucket.wait_s(5.0) == 0


def test_time_without_use_saves_up_no_more_than_a_burst() -> None:
    bucket = Bucket(10 * MB, 0.0)
    bucket.wait_s(3600.0)
    bucket.spend(int(2 * 10 * MB * BURST_S), 3600.0)
    assert bucket.wait_s(3600.0) == pytest.approx(BURST_S)


# ---- the watcher


class HandClock:
    def __init__(self) -> None:
        self.at = 0.0
        self.moment = at(12)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        raise AssertionError


def test_limits_are_read_once_a_second_and_follow_the_time_of_day() -> None:
    clock = HandClock()
    throttle = Throttles(clock).of("j", "s")
    limits = [ScopedLimit(scope="source", subject="s", **dict(limit()))]
    reads: list[float] = []

    def read() -> list[ScopedLimit]:
        reads.append(clock.at)
        return limits

    watcher = LimitsWatcher(read, throttle, clock)
    for clock.at in (0.0, 0.4, 0.9, 1.1, 2.0, 2.2):
        watcher.poll()
    assert reads == [0.0, 1.1, 2.2]
    assert throttle.rates == {"job": None, "source": 20 * MB, "service": None}
    clock.at, clock.moment = 4.0, at(23)
    watcher.poll()
    assert throttle.rates["source"] == 200 * MB
    limits.clear()
    clock.at = 6.0
    watcher.poll()
    assert throttle.rates == {"job": None, "source": None, "service": None}


def test_jobs_share_what_is_theirs_together() -> None:
    throttles = Throttles(HandClock())
    one, two, other = throttles.of("j1", "s1"), throttles.of("j2", "s1"), throttles.of("j3", "s2")
    one.set_rates({"job": 1000, "source": 2000, "service": 3000})
    assert two.rates == {"job": None, "source": 2000, "service": 3000}
    assert other.rates == {"job": None, "source": None, "service": 3000}
    assert throttles.of("j1", "s1").rates["job"] == 1000


def test_what_is_not_limited_waits_for_nothing() -> None:
    throttle = Throttles(HandClock()).of("j", "s")  # a clock that stands still: any wait would last for ever
    throttle.take(1 << 50, cancel=lambda: pytest.fail("it waited"))
