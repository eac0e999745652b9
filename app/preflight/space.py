"""Volumes are thin, unless they are preallocated: what they will take is at most the disks' capacity.

What other jobs will still write to the pool is theirs, and counts as taken.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move
from app.domain.space import size_text

LEAST = 0.10  # a used system disk rarely has less than a tenth of it written
NAMED = 5  # how many of the jobs that have reserved something a concern names


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    pool = facts.pool(move.target.pool)
    if pool is None:
        return
    capacity, free = move.vm.disk_bytes, pool.free_bytes
    reserved = sum(item.bytes for item in move.reserved)
    whole = move.target.image.preallocation in ("falloc", "full")
    least = capacity if whole else capacity * LEAST
    where = f"the pool {pool.name} on {move.target.name}"
    figures = f"{where} has {size_text(free)} free, the disks' capacity is {size_text(capacity)}"
    if reserved:
        figures += f", and {size_text(reserved)} are reserved by {_holders(move)}"
    if free < least:
        yield Concern(
            code="pool_full",
            severity="blocker",
            cause=f"{figures}: they will take more than that",
            remedy="Make room, or use another pool.",
        )
    elif free - reserved < least:
        yield Concern(
            code="pool_is_reserved",
            severity="blocker",
            cause=figures,
            remedy="Wait until these jobs have ended, make room, or use another pool.",
        )
    elif free - reserved < capacity:
        yield Concern(
            code="pool_may_fill_up",
            severity="warning",
            cause=figures,
            remedy="The move works when less is in use; if the pool fills up, it waits for room. Make some to be sure.",
        )


def _holders(move: Move) -> str:
    """ "job 1a2b (web, 3.0 GiB), job 3c4d (db, 1.0 GiB) and 2 more"."""
    named = [f"job {item.job} ({item.vm}, {size_text(item.bytes)})" for item in move.reserved[:NAMED]]
    more = len(move.reserved) - NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
