"""What the tests with real tools share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.ports.source import Source
from app.process import run
from tests.contract.source_platforms import lab_spec
from tests.lab.lab import Lab
from workers.sources import open_source


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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(Path(tmp_path_factory.mktemp("lab"))) as lab:
        yield lab


@pytest.fixture
def source(lab: Lab) -> Iterator[Source]:
    source = open_source(lab_spec(lab))
    yield source
    lab.clear()
    source.close()
