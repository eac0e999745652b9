"""Which areas of a disk are allocated, as change tracking tells it: QueryChangedDiskAreas with the change id "*".

Change tracking has a history: it reported too little of disks that were grown (VMware KB 2090639) and in ESXi 6.0
(KB 2136854), and a power cut or a revert to a snapshot resets it. Asked what changed *since* a state, it can be wrong
for ever after. "*" asks for no state but for what is in use: of a VM that is off that follows from the allocation of
the disk's file, and a block that was never allocated reads as zeros, whatever tracking believes. It is taken here only
- of a disk whose tracking is in effect (it has a change id), of a VM that is off and has no snapshot,
- from a host of version 6.5 or newer,
- when every answer is in order (`merge`), and
- when samples of what it leaves out are zeros, which whoever reads the disk looks at (samples.py).
In every other case the whole disk is read. Only a second reading of all of the source proves more.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from app.domain.errors import PermanentError
from app.domain.models import Disk
from app.ports.disks import Area
from workers.sources.vsphere.session import Session

OLDEST_HOST = (6, 5)
MAX_ROUNDS = 100_000  # of 2000 areas each: more than 64 TiB have in blocks of 1 MiB
MAX_AREAS = 100_000  # kept in memory; of more, those with the smallest gaps are read as one


def allocated(session: Session, vm_id: str, disk: Disk) -> list[Area]:
    """All allocated areas of a disk of a VM that is off. Raises what the call raises, and PermanentError for an answer
    that cannot be true.
    """
    vm = session.object(vim.VirtualMachine, vm_id)
    found: list[Area] = []
    offset = 0
    for _ in range(MAX_ROUNDS):
        if offset == disk.capacity_bytes:  # which the call itself would refuse
            return found
        answer = session.call(vm.QueryChangedDiskAreas, None, disk.key, offset, "*")
        offset = merge(found, answer, offset, disk.capacity_bytes)
        if len(found) > MAX_AREAS:
            found = coarser(found, MAX_AREAS // 2)
    raise _untrue(f"it has more than {MAX_ROUNDS} parts")


def merge(found: list[Area], answer: Any, offset: int, capacity: int) -> int:
    """Add a DiskChangeInfo for the disk from `offset` on to what was found below; returns where the next one begins.

    Raises PermanentError unless its areas ascend, do not overlap, and are inside what it says it covers.
    """
    end: int = offset + answer.length
    if answer.startOffset != offset or not offset < end <= capacity:
        raise _untrue(f"it covers {answer.length} bytes from {answer.startOffset} where {offset} was asked for")
    at = offset
    for area in answer.changedArea or ():
        if area.length <= 0 or area.start < at or area.start + area.length > end:
            raise _untrue(f"the area of {area.length} bytes at {area.start} is out of place")
        at = area.start + area.length
        if found and found[-1].offset + found[-1].length == area.start:
            found[-1] = Area(found[-1].offset, at - found[-1].offset)
        else:
            found.append(Area(area.start, area.length))
    return end


def coarser(areas: list[Area], most: int) -> list[Area]:
    """At most so many areas that cover all of these."""
    gap = 64 << 10
    while len(areas) > most:
        joined = areas[:1]
        for area in areas[1:]:
            last = joined[-1]
            if area.offset - (last.offset + last.length) <= gap:
                joined[-1] = Area(last.offset, area.offset + area.length - last.offset)
            else:
                joined.append(area)
        areas, gap = joined, gap * 2
    return areas


def _untrue(why: str) -> PermanentError:
    return PermanentError(f"the answer about allocated areas cannot be true: {why}", "", code="tracking_untrue")
