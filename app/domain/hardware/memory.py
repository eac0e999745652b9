"""How much memory, and how the host keeps it."""

from __future__ import annotations

from typing import Any

from app.domain.hardware.case import Case
from app.domain.hardware.placement import places_of
from app.domain.models import VM
from app.domain.move import Profile

HOT_ADD_TIMES = 4  # how many times its memory a VM can get while it runs, where VMware allowed to add any
MOST_MEMORY = 512 << 30  # by adding: a guest's CPU may not have addresses for more than 1 TiB
HUGE_PAGE_KIB = 2048


def memory(case: Case) -> dict[str, Any]:
    """As much, and where memory could be added, room for more; VMware's limit below it is what the host shall try to
    keep it under.
    """
    limit = case.vm.memory_limit_bytes
    return {
        "memory_bytes": case.vm.memory_bytes,
        "memory_most": most_memory(case),
        "memory_soft_limit": limit if limit is not None and limit < case.vm.memory_bytes else None,
    }


def backing(case: Case) -> dict[str, Any]:
    """Memory that was reserved in full is locked, unless density is asked for; with latency it is locked in any case,
    of huge pages, and merged with nobody's.
    """
    latency = case.profile is Profile.LATENCY
    return {
        "memory_pages_kib": _huge_pages(case) if latency else (),
        "memory_locked": latency or (case.profile is not Profile.DENSITY and is_reserved(case.vm)),
        "memory_merged": not latency,
    }


def balloon(case: Case) -> dict[str, Any]:
    """One that works by hand; with density, one that gives back what is free; none with latency or without virtio."""
    if case.profile is Profile.LATENCY or not case.move.converts:
        return {"balloon": "none"}
    return {"balloon": "eager" if case.profile is Profile.DENSITY else "plain"}


def most_memory(case: Case) -> int | None:
    """What it may grow to; None for what it has."""
    most = min(HOT_ADD_TIMES * case.vm.memory_bytes, MOST_MEMORY)
    return most if case.vm.memory_hot_add and case.grows and most > case.vm.memory_bytes else None


def is_reserved(vm: VM) -> bool:
    return vm.memory_reservation_bytes >= vm.memory_bytes > 0


def _huge_pages(case: Case) -> tuple[int, ...]:
    return tuple(chosen.page_kib or HUGE_PAGE_KIB for chosen in places_of(case)) or (HUGE_PAGE_KIB,)
