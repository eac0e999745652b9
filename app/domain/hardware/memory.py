"""How much memory, and how the host keeps it."""

from __future__ import annotations

from typing import Any

from app.domain.hardware.case import Case


def memory(case: Case) -> dict[str, Any]:
    """As much; VMware's limit below it is what the host shall try to keep it under."""
    limit = case.vm.memory_limit_bytes
    return {
        "memory_bytes": case.vm.memory_bytes,
        "memory_soft_limit": limit if limit is not None and limit < case.vm.memory_bytes else None,
    }
