"""What raises a concern, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.models import Concern, SourceSpec
from tests.lab.specs import VmSpec


@dataclass(frozen=True)
class OnVsphere:
    """A VM of the lab's vCenter, which raises `code` on a dry run, and `also` what cannot be left out.

    said: what raises it, in words. options: of the move. facts: how the target differs from an ordinary one. target:
    how its registration does. waiting: another VM whose move to that target was submitted before.
    """

    code: str
    said: str
    vm: VmSpec
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    waiting: VmSpec | None = None
    also: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether all is left as it is by itself."""
        return not (self.options or self.facts or self.target or self.waiting)


@dataclass(frozen=True)
class OnFiles:
    """A VM in files. `place` makes them in a folder and gives the source that reads them, for as long as it is open."""

    code: str
    said: str
    place: Callable[[Path], AbstractContextManager[SourceSpec]]
    also: tuple[str, ...] = ("boot_not_checked",)


@dataclass(frozen=True)
class OnGuest:
    """A guest whose conversion raises `code` alone: a guest of dictionaries, since each real one costs minutes."""

    code: str
    said: str
    convert: Callable[[], list[Concern]]
