"""Volumes are thin: what they will take is known only to be at most the disks' capacity."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Move, TargetFacts

LEAST = 0.10  # a used system disk rarely has less than a tenth of it written
GIB = 1 << 30


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    pool = facts.pool(move.target.pool)
    if pool is None:
        return
    capacity, free = move.vm.disk_bytes, pool.free_bytes
    figures = f"the pool {pool.name} has {free / GIB:.1f} GiB free, the disks' capacity is {capacity / GIB:.1f} GiB"
    if free < capacity * LEAST:
        yield Concern(
            code="pool_full",
            severity="blocker",
            cause=figures,
            remedy="Make room, or use another pool.",
        )
    elif free < capacity:
        yield Concern(
            code="pool_may_fill_up",
            severity="warning",
            cause=figures,
            remedy="The move works when less is in use; if the pool fills up, it is undone. Make room to be sure.",
        )
