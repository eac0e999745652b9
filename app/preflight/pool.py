"""The storage pool must be there, running, and made of files on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move

FILE_POOLS = ("dir", "fs", "netfs")


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    name = move.target.pool
    pool = facts.pool(name)
    if pool is None and move.options.pool:
        usable = ", ".join(pool.name for pool in facts.pools if pool.type in FILE_POOLS) or "none"
        yield Concern(
            code="pool_unknown",
            severity="blocker",
            cause=f"{move.target.name} has no storage pool {name}, which this move asks for",
            remedy=f"Ask for one of its pools: {usable}. One made since is known after a check of the target.",
        )
    elif pool is None:
        known = ", ".join(pool.name for pool in facts.pools) or "none"
        yield Concern(
            code="pool_missing",
            severity="blocker",
            cause=f"{move.target.name} has no storage pool {name}",
            remedy=f"Define it (virsh pool-define-as), or register the target with one of its pools: {known}.",
        )
    elif pool.type not in FILE_POOLS:
        yield Concern(
            code="pool_type_unsupported",
            severity="blocker",
            cause=f"the pool {name} on {move.target.name} is of type {pool.type}: only pools of files take volumes",
            remedy=f"Use a pool of type {', '.join(FILE_POOLS)}.",
        )
    elif not pool.active:
        yield Concern(
            code="pool_inactive",
            severity="blocker",
            cause=f"the pool {name} on {move.target.name} is not active: no volume can be made in it",
            remedy=f"Start it (virsh pool-start {name}) and check the target again.",
        )
