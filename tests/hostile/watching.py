"""What a reader does to the machine: which files it opens, and how much memory it takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_watched: list[list[str]] = []  # where opened paths are noted


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], str | bytes | Path):
        name = arguments[0]
        _watched[-1].append(name.decode() if isinstance(name, bytes) else str(name))


sys.addaudithook(_note)


@contextmanager
def opened() -> Iterator[list[str]]:
    """The paths that this process opens in the block, as they were given: of a file in an open folder its name."""
    paths: list[str] = []
    _watched.append(paths)
    try:
        yield paths
    finally:
        _watched.pop()


def peak() -> int:
    """The most bytes of memory that this process has had."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
