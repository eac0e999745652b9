"""What a profile promises must be there on the target's host."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.hardware.placement import cells_of, place, taken_by_others
from app.domain.models import Concern, TargetFacts
from app.domain.move import Move, Profile
from app.domain.space import size_text

_BALANCED = "or take the profile balanced"


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    match move.options.profile:
        case Profile.LATENCY:
            yield from _latency(move, facts)
        case Profile.DENSITY:
            yield from _density(move, facts)


def _latency(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    target, host = move.target.name, facts.host
    if facts.accelerator != "kvm":
        yield Concern(
            code="profile_without_kvm",
            severity="warning",
            cause=f"KVM does not work on {target}: no profile makes software emulation answer in time",
            remedy="Enable virtualisation in its firmware, and check /dev/kvm.",
        )
    pool = facts.pool(move.target.pool)
    if pool is not None and not pool.direct_io:
        yield Concern(
            code="profile_needs_direct_io",
            severity="blocker",
            cause=f"the profile latency goes past the page cache: the file system of the pool {pool.name} refuses that",
            remedy=f"Use a pool on ext4 or XFS, {_BALANCED}.",
        )
    if not host.nodes:
        yield Concern(
            code="profile_needs_check",
            severity="blocker",
            cause=f"the CPUs of {target} are not known, and the profile latency pins to them",
            remedy=f"Check the target again (vmferry target check {target}), {_BALANCED}.",
        )
    else:
        yield from _placing(move, facts)


def _placing(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    vm, target = move.vm, move.target.name
    cells = cells_of(vm, vm.cpus)
    taken = taken_by_others(facts.domains, move.job_id)
    places = place(cells, facts.host, taken)
    if not places:
        sizes = ", ".join(str(len(node.cpus)) for node in facts.host.nodes)
        needs = f"{cells[0].cpus} CPUs" + (f" on each of {len(cells)} nodes" if len(cells) > 1 else " on one node")
        yield Concern(
            code="profile_needs_cpus",
            severity="blocker",
            cause=f"with the profile latency {vm.name} needs {needs}; the NUMA nodes of {target} have {sizes}",
            remedy=f"Choose a host with larger nodes, give the VM fewer CPUs, {_BALANCED}.",
        )
    for cell, chosen in zip(cells, places, strict=False):
        if chosen.page_kib is None:
            free = max((size * count for size, count in chosen.node.huge_pages.items()), default=0) * 1024
            pages = -(-cell.memory_bytes // (2 << 20))
            folder = f"/sys/devices/system/node/node{chosen.node.id}/hugepages/hugepages-2048kB"
            yield Concern(
                code="profile_needs_huge_pages",
                severity="blocker",
                cause=f"with the profile latency {vm.name} needs {size_text(cell.memory_bytes)} of huge pages on node"
                f" {chosen.node.id} of {target}, which has {size_text(free)} of one size free",
                remedy=f"Reserve them, {pages} more than are in use, in {folder}/nr_hugepages, with hugetlbfs mounted"
                f" (findmnt -t hugetlbfs), and check the target again, {_BALANCED}.",
            )
    if shared := sorted({cpu for chosen in places for cpu in chosen.cpus} & taken):
        yield Concern(
            code="profile_shares_cpus",
            severity="warning",
            cause=f"{vm.name} would share CPUs of {target} with other pinned domains: {', '.join(map(str, shared))}",
            remedy=f"Move it to a host with CPUs to spare, {_BALANCED}.",
        )


def _density(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    if facts.host.ksm != "on":
        how = (
            "Turn it on (echo 1 > /sys/kernel/mm/ksm/run)"
            if facts.host.ksm == "off"
            else "Use a kernel with CONFIG_KSM"
        )
        yield Concern(
            code="ksm_is_off",
            severity="warning",
            cause=f"with the profile density equal memory is shared: the kernel of {move.target.name} does not do so",
            remedy=f"{how}, and check the target again.",
        )
    if not move.converts:
        yield Concern(
            code="profile_without_balloon",
            severity="warning",
            cause=f"{move.vm.name} stays unconverted: without virtio it gives no unused memory back to its host",
            remedy="Have it converted, or keep an eye on the host's memory.",
        )
