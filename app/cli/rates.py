"""Rates and daily windows as people write them: "200MB/s", "1Gbit/s", "22:00-06:00=200MB/s"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from app.cli.exits import CliError, Exit

RATE_HELP = "For example 200MB/s, 50MiB/s, 1Gbit/s, or unlimited."
WINDOW_HELP = "A time of every day with a rate of its own, repeatable: 22:00-06:00=200MB/s."
ZONE_HELP = "The windows' time zone, for example Europe/Berlin."
UNLIMITED = "unlimited"

_UNITS = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
    "kbit": 10**3 / 8, "Mbit": 10**6 / 8, "Gbit": 10**9 / 8,
}  # fmt: skip
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)/s")
_WINDOW = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)=(.+)")


def parse_rate(text: str) -> int | None:
    """Bytes a second; None for "unlimited"."""
    if text == UNLIMITED:
        return None
    match = _RATE.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS:
        raise CliError(Exit.USAGE, "rate", f"{text!r} is no rate", f"{RATE_HELP} Units: {', '.join(_UNITS)}.")
    return round(float(match[1]) * _UNITS[match[2]])


def parse_limit(rate: str, windows: Sequence[str] = (), zone: str = "") -> dict[str, Any]:
    """The body of PUT /v1/limits/…"""
    if bool(windows) != bool(zone):
        raise CliError(Exit.USAGE, "zone", "--window and --zone belong together", f"{WINDOW_HELP} {ZONE_HELP}")
    return {
        "bytes_per_second": parse_rate(rate),
        "windows": [_window(text) for text in windows],
        **({"zone": zone} if zone else {}),
    }


def _window(text: str) -> dict[str, Any]:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise CliError(Exit.USAGE, "window", f"{text!r} is no window", WINDOW_HELP)
    return {"start": match[1], "end": match[2], "bytes_per_second": parse_rate(match[3])}
