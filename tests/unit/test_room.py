"""Room: what jobs will still write, when one that found none goes on, and which folder an error speaks of."""

from __future__ import annotations

import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import NoSpace
from app.domain.job import Job
from app.domain.models import DiskProgress, StepRecord
from app.domain.move import MoveOptions
from app.domain.space import GIB, MIB, enough_to_go_on, reservations, size_text, still_to_write
from app.domain.states import JobState
from tests.unit.moves import make_vm
from workers.room import Room, full_folder, room_at, waits_for_room

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HOME = Path("/home")


def job(**changes: Any) -> Job:
    made = Job(
        id="j", vm_id="vm-1", vm_name="web", source_id="s", source_name="lab", target_id="t", target_name="kvm1",
        options=MoveOptions(), created_at=NOW, vm=make_vm(),
    )  # fmt: skip
    return made.model_copy(update=changes)


def test_what_is_still_to_be_written() -> None:
    half = DiskProgress(key=2000, label="d", capacity_bytes=4 * GIB, bytes_done=GIB, bytes_skipped=2 * GIB)
    copied = (StepRecord(name="transfer", state="succeeded"),)
    assert still_to_write(job(vm=None)) == 0
    assert still_to_write(job()) == 3 * GIB  # the capacity of its two disks
    assert still_to_write(job(disks=(half, half))) == 2 * GIB
    assert still_to_write(job(disks=(half,), steps=copied)) == 0


def test_of_two_jobs_that_begin_together_the_first_one_has_the_room() -> None:
    passed = (StepRecord(name="preflight", state="succeeded"),)
    first, second = job(id="a"), job(id="b", created_at=NOW + timedelta(seconds=1))
    assert [item.job for item in reservations([first, second], second)] == ["a"]
    assert reservations([first, second], first) == ()
    later = second.model_copy(update={"steps": passed})
    assert [item.job for item in reservations([first, later], first)] == ["b"]
    assert [(item.job, item.bytes) for item in reservations([first, second])] == [("a", 3 * GIB), ("b", 3 * GIB)]


@pytest.mark.parametrize("state", JobState)
def test_jobs_that_will_write_reserve(state: JobState) -> None:
    writes = state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
    assert bool(reservations([job(state=state)])) is writes
    assert reservations([job(state=state, purpose="rollback")]) == ()


@pytest.mark.parametrize(
    ("free", "size", "left", "at"),
    [
        (0, 1000 * GIB, 10 * GIB, GIB),
        (5 * MIB, 1000 * GIB, 10 * GIB, GIB + 5 * MIB),
        (0, 24 * MIB, 40 * MIB, 2 * MIB),  # 5 % of what is left
        (0, 200 * MIB, 40 * MIB, 10 * MIB),  # 5 % of a small file system
        (0, 1000 * GIB, 1000 * GIB, 50 * GIB),
        (0, 1000 * GIB, 10 * MIB, 10 * MIB),  # no more than is needed
        (0, 1000 * GIB, 0, GIB),  # nobody knows what is needed
        (0, 1000 * GIB, 1, MIB),
    ],
)
def test_how_much_room_is_enough_to_go_on(free: int, size: int, left: int, at: int) -> None:
    assert enough_to_go_on(free, size, left) == at


def test_sizes_for_people() -> None:
    assert (size_text(3 * GIB + 200 * MIB), size_text(12 * MIB), size_text(0)) == ("3.2 GiB", "12 MiB", "0 MiB")


@pytest.mark.parametrize(
    ("error", "folder"),
    [
        (NoSpace("full", path="/pool/x.qcow2"), Path("/pool")),
        (NoSpace("the guest's own file system is full"), None),
        (OSError(errno.ENOSPC, "full", "/pool/x"), Path("/pool")),
        (OSError(errno.EDQUOT, "quota"), HOME),
        (OSError(errno.EIO, "broken", "/pool/x"), None),
    ],
)
def test_which_folder_was_full(error: NoSpace | OSError, folder: Path | None) -> None:
    assert full_folder(error, HOME) == folder


def test_a_pause_says_where_and_how_much() -> None:
    pause = waits_for_room(job(), Path("/pool"), Room(size=100 * GIB, free=12 * MIB), "default", NOW)
    assert pause.detail == "pool default (/pool) needs up to 3.0 GiB more, 12 MiB are free"
    assert pause.resume_at_bytes == GIB + 12 * MIB
    copied = job(steps=(StepRecord(name="transfer", state="succeeded"),))
    assert waits_for_room(copied, HOME, None, "", NOW).detail == "/home is full"


def test_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    found = room_at(tmp_path)
    assert found is not None
    assert 0 < found.free <= found.size
    assert room_at(tmp_path / "none") is None
