"""What all waves together take of a target: of its pools, its memory and its CPUs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from app.domain.models import TargetFacts
from app.domain.move import Profile
from app.domain.registered import RegisteredTarget
from app.domain.space import size_text
from app.preflight.space import LEAST
from app.services.planning.drafts import Draft
from app.services.planning.judge import Size
from app.services.planning.report import Findings, PoolForecast

CPUS_SHARED = 4  # virtual CPUs on one of a host's: beyond that servers are felt to wait

Reserved = Callable[[RegisteredTarget, str], int]  # (target, pool) → bytes that jobs will still write there


def check_capacity(
    drafts: Sequence[Draft], sizes: Mapping[str, Size], reserved: Reserved, found: Findings
) -> tuple[PoolForecast, ...]:
    """`drafts` in the order in which they start: what is too much is told at the first that finds no room."""
    pools: dict[tuple[str, str], list[Draft]] = defaultdict(list)
    hosts: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.to is None or draft.to.facts is None or draft.item.key not in sizes:
            continue
        if draft.open:
            pools[draft.to.uri, draft.item.options.pool or draft.to.pool].append(draft)
        if sizes[draft.item.key].runs:
            hosts[draft.to.uri].append(draft)
    forecasts = [_pool(name, of_pool, sizes, reserved, found) for (_uri, name), of_pool in pools.items()]
    for of_host in hosts.values():
        _memory(of_host, sizes, found)
        _cpus(of_host, sizes, found)
    return tuple(sorted((item for item in forecasts if item), key=lambda item: (item.target, item.pool)))


def _pool(
    name: str, drafts: Sequence[Draft], sizes: Mapping[str, Size], reserved: Reserved, found: Findings
) -> PoolForecast | None:
    to, facts = _target(drafts)
    pool = facts.pool(name)
    if pool is None:  # which preflight tells of each
        return None
    needed = sum(sizes[draft.item.key].disk_bytes for draft in drafts)
    held = reserved(to, name)
    free = max(0, pool.free_bytes - held)
    least = needed if to.image.preallocation in ("falloc", "full") else needed * LEAST
    figures = f"the disks of {len(drafts)} VMs have {size_text(needed)}, the pool {name} on {to.name} {size_text(free)}"
    figures += f" beside the {size_text(held)} that other jobs will still write" if held else " free"
    if least > free:
        place = _first_without_room(drafts, sizes, free, least / needed).place("pool")
        found.error(
            place,
            "pool_full",
            f"{figures}: they will take more than that",
            "Make room and check the target again, or give some of them another pool.",
        )
    elif needed > free:
        found.warning(
            _first_without_room(drafts, sizes, free, 1).place("pool"),
            "pool_may_fill_up",
            figures,
            "It works when less is in use; a move that finds the pool full waits for room.",
        )
    return PoolForecast(target=to.name, pool=name, needed_bytes=needed, free_bytes=free, fits=needed <= free)


def _first_without_room(drafts: Sequence[Draft], sizes: Mapping[str, Size], free: int, share: float) -> Draft:
    taken = 0.0
    for draft in drafts:
        taken += sizes[draft.item.key].disk_bytes * share
        if taken > free:
            return draft
    return drafts[-1]


def _memory(drafts: Sequence[Draft], sizes: Mapping[str, Size], found: Findings) -> None:
    to, facts = _target(drafts)
    there = sum(node.memory_bytes for node in facts.host.nodes)
    if not there:
        return
    taken, told = 0, False
    for draft in drafts:
        memory = sizes[draft.item.key].memory_bytes
        taken += memory
        if memory > there and draft.open:
            found.error(
                draft.place("memory_bytes"),
                "memory_too_large",
                f"{draft.item.vm_name} has {size_text(memory)} of memory, and {to.name} {size_text(there)} in all",
                "Give it less in 'memory', or another target.",
            )
        elif taken > there and not told:
            total = sum(sizes[each.item.key].memory_bytes for each in drafts)
            told = True
            found.warning(
                draft.place("target"),
                "memory_overcommitted",
                f"from here on {to.name} has not memory enough: the {len(drafts)} VMs that will run there have"
                f" {size_text(total)}, it has {size_text(there)}, beside what runs there already",
                "Give some of them another target or less memory, or leave some powered off.",
            )


def _cpus(drafts: Sequence[Draft], sizes: Mapping[str, Size], found: Findings) -> None:
    to, facts = _target(drafts)
    there = sum(len(node.cpus) for node in facts.host.nodes)
    if not there:
        return
    own = [draft for draft in drafts if draft.item.options.profile is Profile.LATENCY]
    pinned = sum(sizes[draft.item.key].cpus for draft in own)
    total = sum(sizes[draft.item.key].cpus for draft in drafts)
    if pinned > there:
        found.warning(
            own[-1].place("profile"),
            "cpus_pinned_twice",
            f"the {len(own)} VMs with the profile latency have {pinned} CPUs of their own, {to.name} has {there}:"
            " they will share them",
            "Give some of them another target, or the profile balanced.",
        )
    if total > there * CPUS_SHARED:
        found.warning(
            drafts[-1].place("target"),
            "cpus_overcommitted",
            f"the {len(drafts)} VMs that will run on {to.name} have {total} CPUs, it has {there}: more than"
            f" {CPUS_SHARED} share one",
            "Give some of them another target or fewer CPUs.",
        )


def _target(drafts: Sequence[Draft]) -> tuple[RegisteredTarget, TargetFacts]:
    to = drafts[0].to
    assert to is not None and to.facts is not None  # noqa: PT018 - so it was chosen
    return to, to.facts
