"""Where on the target's host a VM of its own CPUs and memory goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.domain.hardware.case import Case
from app.domain.hardware.model import NumaCell
from app.domain.host import Host, HostNode
from app.domain.models import VM, Domain

KIB = 1024
MEMORY_UNIT = 2 << 20  # cells are made of whole huge pages


class Place(NamedTuple):
    """A node of the host for a cell of the guest."""

    node: HostNode
    cpus: tuple[int, ...]  # the host's, one for each of the cell
    page_kib: int | None  # the huge pages that its memory fits in; None where the node has too few of any size


def cells_of(vm: VM, most: int) -> tuple[NumaCell, ...]:
    """The guest's nodes: one where CPUs can be added, as VMware has it, or where they cannot be parted evenly."""
    count = 1 if most > vm.cpus or vm.cpus % vm.numa_nodes else vm.numa_nodes
    each, memory = most // count, vm.memory_bytes // count // MEMORY_UNIT * MEMORY_UNIT
    rest = vm.memory_bytes - memory * count
    return tuple(
        NumaCell(first_cpu=index * each, cpus=each, memory_bytes=memory + (0 if index else rest))
        for index in range(count)
    )


def places_of(case: Case) -> tuple[Place, ...]:
    return place(cells_of(case.vm, case.vm.cpus), case.host, case.taken)


def place(cells: Sequence[NumaCell], host: Host, taken: frozenset[int]) -> tuple[Place, ...]:
    """A node for each cell, none twice; () where a cell has more CPUs than any node that is left.

    A node with enough huge pages is better than one without, then the one with most CPUs that nobody is pinned to.
    """
    places: list[Place] = []
    for cell in cells:
        used = {chosen.node.id for chosen in places}
        fits = [node for node in host.nodes if node.id not in used and len(node.cpus) >= cell.cpus]
        if not fits:
            return ()
        node = max(fits, key=lambda node: (_page(cell, node) is not None, len(set(node.cpus) - taken), -node.id))
        cpus = sorted(node.cpus, key=lambda cpu: (cpu in taken, cpu))[: cell.cpus]
        places.append(Place(node, tuple(cpus), _page(cell, node)))
    return tuple(places)


def taken_by_others(domains: Iterable[Domain], job_id: str) -> frozenset[int]:
    """The host's CPUs that domains other than the job's own are pinned to."""
    return frozenset(cpu for domain in domains if domain.job != job_id for cpu in domain.pinned)


def _page(cell: NumaCell, node: HostNode) -> int | None:
    """The largest that divides the cell's memory, and of which the node has enough."""
    sizes = sorted(node.huge_pages, reverse=True)
    return next(
        (
            size
            for size in sizes
            if not cell.memory_bytes % (size * KIB) and node.huge_pages[size] * size * KIB >= cell.memory_bytes
        ),
        None,
    )
