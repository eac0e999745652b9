"""A file system that is full: which one, how much is missing, and whether there is room again."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from app.domain.errors import NoSpace
from app.domain.job import Job, Pause
from app.domain.space import enough_to_go_on, size_text, still_to_write


class Room(NamedTuple):
    """Of a file system, in bytes; `free` is what we may use."""

    size: int
    free: int


def room_at(folder: Path) -> Room | None:
    """Of the file system that a folder is on; None when it is not there."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return None
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def full_folder(error: NoSpace | OSError, home: Path) -> Path | None:
    """The folder that had no room; None for an error that says nothing of the kind, or waiting would not help."""
    if isinstance(error, NoSpace):
        path = error.fields.get("path")
        return Path(path).parent if path else None
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return Path(os.fsdecode(error.filename)).parent if error.filename else home


def waits_for_room(job: Job, folder: Path, room: Room | None, pool: str, now: datetime) -> Pause:
    """The pause of a job that found no room in a folder, which is that of `pool` unless this is empty."""
    where = f"pool {pool} ({folder})" if pool else str(folder)
    left = still_to_write(job)
    needs = f"needs up to {size_text(left)} more" if left else "is full"
    if room is None:
        return Pause(by="space", since=now, detail=f"{where} {needs}", path=str(folder))
    return Pause(
        by="space",
        since=now,
        detail=f"{where} {needs}, {size_text(room.free)} are free",
        path=str(folder),
        resume_at_bytes=enough_to_go_on(room.free, room.size, left),
    )
