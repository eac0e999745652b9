"""How much memory processes have, and had at most; how much CPU time they took."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY_S = 0.05


def worker(service: int) -> int:
    """The worker below a service's process."""
    for pid in tree(service):
        with suppress(FileNotFoundError):
            if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    raise RuntimeError("there is no worker below the service")


@contextmanager
def peaks(pid: int, *, besides: int | None = None) -> Iterator[dict[str, float]]:
    """The most that was resident while the block ran, in MiB: own_mib, and all_mib with all below it, except what is
    `besides` and below that.

    Its own is the kernel's own peak. The sum is sampled; what processes share is counted for each.
    """
    found = {"own_mib": 0.0, "all_mib": 0.0}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY_S):
            found["all_mib"] = max(found["all_mib"], sum(map(_resident, tree(pid, besides))))

    Path(f"/proc/{pid}/clear_refs").write_text("5")  # what was the peak before does not count
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
        peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        found["own_mib"] = int(peak.split()[1]) / 1024
        found["all_mib"] = max(found["all_mib"], found["own_mib"])
    finally:
        stop.set()
        thread.join()


def cpu_s(pid: int) -> float:
    """What a process and its children that have ended took until now, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def tree(pid: int, besides: int | None = None) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [child for child in map(int, (task / "children").read_text().split()) if child != besides]
    return found


def _resident(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0
