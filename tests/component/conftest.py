"""What the tests with real tools share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.process import run


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8M,mode=0700", "tmpfs", folder])
    try:
        yield folder
    finally:
        run(["umount", folder])
