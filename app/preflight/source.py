"""What the source itself has to say: it has seen more of the VM than a model holds."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    yield from move.vm.concerns
