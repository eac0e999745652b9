"""What measured runs amount to. Pure: no clock, no files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Bound = Literal["least", "most"]


@dataclass(frozen=True)
class Run:
    """One run of one side. cpu_s: user and system time of all its processes; facts: what else it told, by name."""

    seconds: float
    cpu_s: float
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A ratio over several runs, and the bar that it has to reach: at least, at most, or none."""

    what: str
    median: float
    least: float
    most: float
    runs: int
    bar: float | None = None
    bound: Bound = "least"
    unit: str = "×"

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the bar; None without one."""
        if self.bar is None:
            return None
        return self.median >= self.bar if self.bound == "least" else self.median <= self.bar

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reached": self.reached}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Figure:
        return cls(**{key: value for key, value in data.items() if key != "reached"})


def figure(
    what: str, values: Sequence[float], *, bar: float | None = None, bound: Bound = "least", unit: str = "×"
) -> Figure:
    """The median of `values`, with the least and the most of them. Raises ValueError when there are none."""
    if not values:
        raise ValueError(f"{what}: nothing was measured")
    return Figure(what, statistics.median(values), min(values), max(values), len(values), bar, bound, unit)


def seconds(run: Run) -> float:
    return run.seconds


def ratios(above: Sequence[Run], below: Sequence[Run], of: Callable[[Run], float] = seconds) -> list[float]:
    """of(above) / of(below), pair by pair: both runs of a pair met the same machine. Raises ValueError on a rest."""
    return [of(a) / of(b) for a, b in zip(above, below, strict=True)]
