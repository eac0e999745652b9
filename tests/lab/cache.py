"""Where the lab keeps what takes long to make."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """VMFERRY_LAB_CACHE, or ~/.cache/vmferry-lab; created when absent."""
    path = Path(os.environ.get("VMFERRY_LAB_CACHE") or Path.home() / ".cache/vmferry-lab")
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, so that two test runs build once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
