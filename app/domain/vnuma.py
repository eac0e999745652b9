"""How many NUMA nodes VMware shows a guest."""

from __future__ import annotations

import re
from collections.abc import Callable

LEAST_CPUS = 9  # VMware shows a guest of fewer one node only


def nodes_of(cpus: int, setting: Callable[[str], str], cores_per_node: int = 0) -> int:
    """`setting`: a line of the .vmx by its key, "" where it is not there. `cores_per_node`: as vSphere 8 was told; 0
    where it chooses itself.
    """
    if cores_per_node > 0:
        return _parts(cpus, cores_per_node)
    if cpus < _number(setting("numa.vcpu.min"), LEAST_CPUS):
        return 1
    chosen = setting("numa.vcpu.maxPerVirtualNode") or setting("numa.autosize.vcpu.maxPerVirtualNode")
    return _parts(cpus, _number(chosen, cpus))


def _parts(cpus: int, each: int) -> int:
    return -(-cpus // each)


def _number(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else default
