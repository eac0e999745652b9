"""NUMA: which nodes the guest sees, and where its CPUs and memory are on the host."""

from __future__ import annotations

from typing import Any

from app.domain.hardware.case import Case
from app.domain.hardware.memory import most_memory
from app.domain.hardware.placement import cells_of, places_of
from app.domain.hardware.processors import most_cpus
from app.domain.move import Profile


def nodes(case: Case) -> dict[str, Any]:
    """As many as on VMware, each with its part of CPUs and memory; one where memory can be added, which needs it."""
    found = cells_of(case.vm, most_cpus(case))
    return {"cells": found if len(found) > 1 or most_memory(case) is not None else ()}


def pinning(case: Case) -> dict[str, Any]:
    """With latency: each CPU on one of the host's, and the memory beside it, on one node for each of the guest's."""
    if case.profile is not Profile.LATENCY:
        return {"pins": (), "helper_cpus": (), "host_nodes": ()}
    places = places_of(case)
    pins = tuple(cpu for chosen in places for cpu in chosen.cpus)
    near = sorted(cpu for chosen in places for cpu in chosen.node.cpus)
    spare = tuple(cpu for cpu in near if cpu not in pins and cpu not in case.taken)
    return {
        "pins": pins,
        "helper_cpus": spare or tuple(near),
        "host_nodes": tuple(chosen.node.id for chosen in places),
    }
