"""CPUs, and how much of the host's time they get."""

from __future__ import annotations

from typing import Any

from app.domain.hardware.case import Case
from app.domain.models import VM

HOT_ADD_TIMES = 4  # how many times its CPUs a VM can get while it runs, where VMware allowed to add any
NORMAL_CPU_SHARES = 1000  # VMware's, of one virtual CPU


def processors(case: Case) -> dict[str, Any]:
    """As many, in as many sockets; where CPUs could be added, up to HOT_ADD_TIMES as many sockets."""
    cores = _cores(case.vm)
    return {"cpus": case.vm.cpus, "sockets": most_cpus(case) // cores, "cores": cores}


def processor_time(case: Case) -> dict[str, Any]:
    """VMware's shares against the normal ones, as a weight; its limit in MHz, as a part of the source host's CPUs."""
    vm = case.vm
    weight = share = None
    if vm.cpu_shares is not None:
        weight = min(10_000, max(1, 100 * vm.cpu_shares // (NORMAL_CPU_SHARES * vm.cpus)))
    if vm.cpu_limit_mhz is not None and vm.host_mhz:
        share = vm.cpu_limit_mhz / (vm.host_mhz * vm.cpus)
    return {"cpu_weight": weight, "cpu_share": share if share is not None and share < 1 else None}


def most_cpus(case: Case) -> int:
    """How many it may have while it runs."""
    return case.vm.cpus * (HOT_ADD_TIMES if case.vm.cpu_hot_add and case.grows else 1)


def _cores(vm: VM) -> int:
    """Of a socket; a division that leaves a rest is given up for one core per socket."""
    return 1 if vm.cpus % vm.cores_per_socket else vm.cores_per_socket
