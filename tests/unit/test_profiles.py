"""The profiles: what each changes in the hardware, and where on the host latency puts a VM."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.hardware import hardware_for
from app.domain.hardware.model import Hardware, NumaCell
from app.domain.hardware.placement import cells_of, place, taken_by_others
from app.domain.host import Host, HostNode
from app.domain.models import VM, Domain, TargetFacts
from tests.unit.moves import UUID, make_move, make_vm

GIB = 1 << 30
NONE: frozenset[int] = frozenset()


def node(number: int, *cpus: int, **pages: int) -> HostNode:
    """`pages`: m2=… and g1=…, how many of that size are free."""
    sizes = {"m2": 2048, "g1": 1 << 20}
    return HostNode(
        id=number, cpus=cpus, memory_bytes=64 * GIB, huge_pages={sizes[name]: n for name, n in pages.items()}
    )


HOST = Host(nodes=(node(0, 0, 1, 2, 3, m2=4096), node(1, 4, 5, 6, 7, m2=4096, g1=2)))


def hardware(vm: VM | None = None, *, host: Host = HOST, taken: frozenset[int] = NONE, **options: Any) -> Hardware:
    move = make_move(vm, **options)
    paths = [f"/{index}" for index in range(len(move.vm.disks))]
    return hardware_for(move, disk_paths=paths, domain_uuid=UUID, host=host, taken=taken)


def cell(cpus: int, memory: int = GIB) -> NumaCell:
    return NumaCell(first_cpu=0, cpus=cpus, memory_bytes=memory)


def test_latency_has_cpus_memory_and_threads_of_its_own() -> None:
    hw = hardware(make_vm(cpus=2), profile="latency")
    assert (hw.pins, hw.helper_cpus, hw.host_nodes) == ((0, 1), (2, 3), (0,))
    assert (hw.memory_pages_kib, hw.memory_locked, hw.memory_merged, hw.balloon) == ((2048,), True, False, "none")
    assert [(disk.direct, disk.thread) for disk in hw.disks] == [(True, 1), (True, 2)]
    assert hw.io_threads == 2


def test_balanced_and_density_have_nothing_of_their_own() -> None:
    for profile, balloon in (("balanced", "plain"), ("density", "eager")):
        hw = hardware(profile=profile)
        assert (hw.pins, hw.helper_cpus, hw.host_nodes, hw.io_threads) == ((), (), (), 0)
        assert (hw.memory_pages_kib, hw.memory_locked, hw.memory_merged) == ((), False, True)
        assert {(disk.direct, disk.thread) for disk in hw.disks} == {(False, None)}
        assert hw.balloon == balloon


def test_memory_that_was_reserved_in_full_is_locked_but_for_density() -> None:
    reserved = make_vm(memory_reservation_bytes=2 * GIB)
    locked = [hardware(reserved, profile=name).memory_locked for name in ("balanced", "latency", "density")]
    assert locked == [True, True, False]
    assert not hardware(make_vm(memory_reservation_bytes=2 * GIB - 1)).memory_locked


def test_nothing_grows_with_latency() -> None:
    vm = make_vm(cpu_hot_add=True, memory_hot_add=True)
    grown, counted = hardware(vm), hardware(vm, profile="latency")
    assert (grown.sockets * grown.cores, grown.memory_most) == (16, 8 * GIB)
    assert (counted.sockets * counted.cores, counted.memory_most, counted.cells) == (4, None, ())


def test_many_disks_share_a_few_threads() -> None:
    def threads(count: int) -> tuple[int, list[int | None]]:
        disks = tuple({"key": n, "label": "d", "capacity_bytes": 1} for n in range(count))
        hw = hardware(make_vm(disks=disks), profile="latency")
        return hw.io_threads, [disk.thread for disk in hw.disks]

    assert threads(6) == (4, [1, 2, 3, 4, 1, 2])
    assert threads(17) == (1, [None] * 17)


def test_an_unconverted_guest_has_neither_balloon_nor_threads() -> None:
    hw = hardware(profile="latency", converter="compat")
    assert (hw.balloon, hw.io_threads, {disk.thread for disk in hw.disks}) == ("none", 0, {None})
    assert hardware(profile="density", converter="compat").balloon == "none"


def test_a_guest_of_two_nodes_is_on_two_of_the_host() -> None:
    hw = hardware(make_vm(numa_nodes=2, cores_per_socket=1), profile="latency")
    assert [(part.first_cpu, part.cpus, part.memory_bytes) for part in hw.cells] == [(0, 2, GIB), (2, 2, GIB)]
    assert (hw.host_nodes, hw.pins, hw.memory_pages_kib) == ((0, 1), (0, 1, 4, 5), (2048, 1 << 20))


@pytest.mark.parametrize(
    ("cells", "nodes", "taken", "found"),
    [
        ([cell(2)], [node(0, 0, 1, m2=512), node(1, 2, 3, m2=512)], NONE, [(0, (0, 1), 2048)]),
        ([cell(2)], [node(0, 0, 1, m2=511), node(1, 2, 3, m2=512)], NONE, [(1, (2, 3), 2048)]),
        ([cell(2)], [node(0, 0, 1, m2=512), node(1, 2, 3, m2=512)], {0}, [(1, (2, 3), 2048)]),
        ([cell(1)], [node(0, 0, 1, 2, m2=512)], {0}, [(0, (1,), 2048)]),
        ([cell(2)], [node(0, 0, 1, m2=511)], {0}, [(0, (1, 0), None)]),
        ([cell(2)], [node(0, 0, 1, m2=512, g1=1)], NONE, [(0, (0, 1), 1 << 20)]),
        ([cell(2, GIB + (2 << 20))], [node(0, 0, 1, m2=513, g1=9)], NONE, [(0, (0, 1), 2048)]),
        ([cell(3)], [node(0, 0, 1), node(1, 2, 3)], NONE, []),
        ([cell(1), cell(1)], [node(0, 0, 1, m2=2048)], NONE, []),
        ([cell(1)], [], NONE, []),
    ],
)
def test_where_a_guest_is_placed(cells: Any, nodes: Any, taken: Any, found: Any) -> None:
    places = place(cells, Host(nodes=tuple(nodes)), frozenset(taken))
    assert [(chosen.node.id, chosen.cpus, chosen.page_kib) for chosen in places] == found


def test_each_node_has_pages_of_the_size_that_its_place_has() -> None:
    vm = make_vm(numa_nodes=2, cpus=2, cores_per_socket=1)
    mixed = Host(nodes=(node(0, 0, 1, g1=1), node(1, 2, 3, m2=512)))
    assert hardware(vm, host=mixed, profile="latency").memory_pages_kib == (1 << 20, 2048)
    assert hardware(vm, host=Host(), profile="latency").memory_pages_kib == (2048,)
    none = Host(nodes=(node(0, 0, 1), node(1, 2, 3, g1=1)))
    assert hardware(vm, host=none, profile="latency").memory_pages_kib == (1 << 20, 2048)


def test_cells_part_evenly_or_not_at_all() -> None:
    vm = make_vm(cpus=4, numa_nodes=2, memory_bytes=GIB + (6 << 20))
    assert [part.memory_bytes for part in cells_of(vm, 4)] == [(512 << 20) + (4 << 20), (512 << 20) + (2 << 20)]
    assert len(cells_of(make_vm(cpus=4, numa_nodes=3), 4)) == 1
    assert [(part.cpus, part.memory_bytes) for part in cells_of(vm, 16)] == [(16, GIB + (6 << 20))]  # CPUs can be added


def test_pins_of_the_jobs_own_domain_take_nothing() -> None:
    domains = [
        Domain(uuid=name, name=name, job=job, pinned=pins)
        for name, job, pins in (("a", "", (0, 1)), ("b", "j2", (5,)), ("c", "j1", (7,)))
    ]
    assert taken_by_others(domains, "j1") == {0, 1, 5}


def test_facts_come_back_from_the_store_as_they_were() -> None:
    facts = TargetFacts(host=HOST)
    assert TargetFacts.model_validate_json(facts.model_dump_json()) == facts


def test_memory_can_grow_to_what_a_guest_can_address() -> None:
    def most(memory: int) -> int | None:
        return hardware(make_vm(memory_bytes=memory, memory_hot_add=True)).memory_most

    assert [most(GIB), most(200 * GIB), most(512 * GIB)] == [4 * GIB, 512 * GIB, None]
    assert hardware(make_vm(memory_hot_add=True)).cells == (NumaCell(first_cpu=0, cpus=4, memory_bytes=2 * GIB),)
    assert hardware().cells == ()
