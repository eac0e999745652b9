"""Room in pools and file systems: what jobs will still write, and when one that found none may go on."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.job import Job
from app.domain.move import Reservation
from app.domain.states import JobState

WRITERS = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)

MIB = 1 << 20
GIB = 1 << 30


def still_to_write(job: Job) -> int:
    """Guest bytes that a job may still write to its volumes: at most, for what is left can turn out to be zeros."""
    if "transfer" in job.finished_steps():
        return 0
    if job.disks:
        return sum(max(0, disk.capacity_bytes - disk.bytes_done - disk.bytes_skipped) for disk in job.disks)
    return job.vm.disk_bytes if job.vm else 0


def reservations(others: Iterable[Job], job: Job | None = None) -> tuple[Reservation, ...]:
    """What other jobs of a pool will still write to it, as the job about to begin has to see it; None: one to come.

    Of two jobs that begin at the same time, the one submitted first has the room: the other counts it, and is itself
    counted only once it has passed its own preflight.
    """
    return tuple(
        Reservation(job=other.id, vm=other.vm_name, bytes=left)
        for other in others
        if other.purpose == "move" and other.state in WRITERS and (left := still_to_write(other))
        if job is None or (other.id != job.id and _comes_first(other, job))
    )


def _comes_first(other: Job, job: Job) -> bool:
    return "preflight" in other.finished_steps() or (other.created_at, other.id) < (job.created_at, job.id)


def enough_to_go_on(free: int, size: int, left: int) -> int:
    """The free bytes at which a job goes on that found a file system of `size` full, `left` still to be written.

    It must have grown by 1 GiB, or 5 % of a small file system, or 5 % of what is left, so that a job does not run into
    the wall again and again; but by no more than what is left, where that is known.
    """
    growth = max(min(GIB, size // 20), left // 20, MIB)
    return free + (min(growth, max(left, MIB)) if left else growth)


def size_text(count: int) -> str:
    """Bytes for people: "3.2 GiB", "12 MiB"."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
