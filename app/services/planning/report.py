"""What a check found, and what would come of the import."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.domain.plan import Difference, Item, Problem, Wave
from app.domain.value import Value

_CELL = re.compile(r"(.*!)([A-Z]{1,3})(\d{1,9})$", re.DOTALL)
_NUMBER = re.compile(r"(\d+)")


class WaveForecast(Value):
    """A wave as it would go. `starts_at` and `ends_at` are its window, `begins_at` and `done_at` an estimate."""

    name: str
    vms: int
    bytes: int
    seconds: float
    starts_at: datetime | None
    ends_at: datetime | None
    begins_at: datetime
    done_at: datetime
    fits: bool


class PoolForecast(Value):
    """What all waves together put into a pool at most, and what it has free beside what other jobs will write."""

    target: str
    pool: str
    needed_bytes: int
    free_bytes: int
    fits: bool


@dataclass(frozen=True)
class Checked:
    """What an import would make of a plan: `waves` and `items` are to be stored when there are no errors.

    `vms`, `bytes` and `seconds` count what is still to be moved. `changes`: whether anything would be stored at all.
    """

    kind: str
    rows: int
    waves: tuple[Wave, ...]
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    differences: tuple[Difference, ...]
    vms: int
    bytes: int
    seconds: float
    forecasts: tuple[WaveForecast, ...]
    pools: tuple[PoolForecast, ...]
    changes: bool

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")


class Findings:
    """Collects problems; they are told in the order of their places."""

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        self._found = list(found)
        self._lenient = False

    def lenient(self) -> Findings:
        """Writes to the same list, and whatever it is told as a warning."""
        other = Findings()
        other._found, other._lenient = self._found, True
        return other

    def error(self, place: str, code: str, cause: str, fix: str = "") -> None:
        severity: Literal["error", "warning"] = "warning" if self._lenient else "error"
        self._found.append(Problem(place=place, cause=cause, fix=fix, code=code, severity=severity))

    def warning(self, place: str, code: str, cause: str, fix: str = "") -> None:
        self._found.append(Problem(place=place, cause=cause, fix=fix, code=code, severity="warning"))

    def problems(self) -> tuple[Problem, ...]:
        return tuple(sorted(dict.fromkeys(self._found), key=lambda problem: place_key(problem.place)))


def place_key(place: str) -> str:
    """Sorts "Plan!B9" before "Plan!A10", and "/items/9" before "/items/10"."""
    if cell := _CELL.fullmatch(place):
        return f"{cell[1]}{int(cell[3]):020}{len(cell[2])}{cell[2]}"
    return _NUMBER.sub(lambda number: number[0].zfill(20), place)
