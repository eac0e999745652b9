"""One disk copied in a process of its own, which a test kills: `python -m tests.faults.copying JOB.json`.

JOB.json: {"source": SourceSpec, "vm", "key", "capacity", "transport", "target", "read"}. `read` is a file of 8 bytes,
the count of bytes read from the source by this process, exact at any moment. Ends with 75 when trying again may help.
"""

from __future__ import annotations

import json
import mmap
import sys
import threading
from pathlib import Path

from app.domain.errors import TransientError
from app.domain.models import SourceSpec
from converters import qcow2
from workers.sources import open_source
from workers.transfer.copy import Pace, copy_disk
from workers.transfer.journal import Journal
from workers.transfer.manifest import Manifest

TRY_AGAIN = 75


def nothing(*_: object) -> None: ...


def copy(job: dict[str, object], take: Pace) -> Manifest:
    """As the transfer step does, for one disk."""
    target, capacity = Path(str(job["target"])), int(str(job["capacity"]))
    source = open_source(SourceSpec.model_validate(job["source"]))
    try:
        with source.access(str(job["vm"]), str(job["transport"]), cancel=nothing) as access:
            disk = access.disk(int(str(job["key"])))
            path = target.with_suffix(".journal")
            journal = Journal.resume(path, disk.identity, capacity) if target.exists() else None
            if journal is None:
                qcow2.create(target, capacity)
                journal = Journal.create(path, disk.identity, capacity)
            with journal:
                return copy_disk(disk, target, journal, pace=take, progress=nothing, cancel=nothing)
    finally:
        source.close()


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    with Path(job["read"]).open("r+b") as file:
        counter = mmap.mmap(file.fileno(), 8)
    lock = threading.Lock()
    count = 0

    def take(size: int, _cancel: object) -> None:
        nonlocal count
        with lock:
            count += size
            counter[:] = count.to_bytes(8, "little")

    try:
        copy(job, Pace(take=take)).save(Path(job["target"]).with_suffix(".json"))
    except TransientError as error:
        print(error.message, file=sys.stderr)
        return TRY_AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
