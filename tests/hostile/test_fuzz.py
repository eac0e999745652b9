"""A minute of fuzzing for each parser: nothing but our own errors, and little memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.process import run
from tests.hostile.seeds import SEEDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("target", SEEDS)
def test_fuzz(target: str, tmp_path: Path) -> None:
    limits = ["-max_total_time=60", "-rss_limit_mb=512", "-timeout=10", f"-artifact_prefix={tmp_path}/"]
    done = run([sys.executable, "-m", "tests.hostile.fuzz", target, *limits], cwd=Path.cwd())
    assert not list(tmp_path.iterdir()), done
