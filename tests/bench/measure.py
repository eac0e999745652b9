"""Runs in turns, each from a cold page cache to data that is on the disk, with the CPU time of all its processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.bench.stats import Run

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
READ = 16 << 20

Action = Callable[[], Mapping[str, float] | None]
"""Does the work of one run, to the last flush. It may tell facts; `seconds` among them is taken for its duration."""


def in_turns(
    sides: Mapping[str, Action],
    runs: int,
    *,
    warm: Sequence[Path] = (),
    warm_up: bool = True,
    settle: Callable[[], None] | None = None,
) -> dict[str, list[Run]]:
    """`runs` of each side, in turns, after one of each that is not counted, the `warm_up`.

    Before each run the page cache is dropped, where we may, `warm` files are read into it (they stand for the memory
    of another machine), and `settle` is called, which may remove what the last run left.
    """
    found: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(0 if warm_up else 1, runs + 1):
        for name, action in sides.items():
            if settle:
                settle()
            _cool(warm)
            run = timed(action)
            facts = " ".join(f"{key}={value:g}" for key, value in run.facts.items())
            kind = f"run {number}" if number else "warm-up"
            print(
                f"  {kind:8} {name:40} {run.seconds:7.2f} s {run.cpu_s:7.2f} CPU-s  {facts}",
                file=sys.stderr,
                flush=True,
            )
            if number:
                found[name].append(run)
    return found


def timed(action: Action) -> Run:
    before, started = _cpu(), time.monotonic()
    facts = dict(action() or {})
    passed = time.monotonic() - started
    return Run(facts.pop("seconds", passed), _cpu() - before, facts)


def flush(*paths: Path) -> None:
    """Their data is on the disk when this returns."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def tool(*words: str | Path, **options: object) -> str:
    """Run a tool to its end; its standard output. An error shows what it said."""
    done = subprocess.run(
        [str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{words[0]} exited {done.returncode}: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)


def may_drop_caches() -> bool:
    return os.access(DROP_CACHES, os.W_OK)


def _cool(warm: Sequence[Path]) -> None:
    os.sync()
    with suppress(PermissionError):
        DROP_CACHES.write_text("3")
    buffer = bytearray(READ)
    for path in warm:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _cpu() -> float:
    """Of children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
