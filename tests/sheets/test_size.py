"""An export of 10,000 VMs: how long it takes to read and to understand, and how much memory of both processes."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.process import run
from app.sheets.formats import understand
from app.sheets.read import read
from tests.hostile.watching import peak
from tests.sheets.rvtools import csv_zip, many, workbook

VMS = 10_000
MIB = 1 << 20


@pytest.mark.parametrize("make", [workbook, csv_zip])
def test_ten_thousand_vms(tmp_path: Path, make: Callable[..., bytes]) -> None:
    path = tmp_path / "export"
    path.write_bytes(make(many(VMS)))
    done = json.loads(run([sys.executable, "-m", "tests.sheets.test_size", path], timeout=300).text)
    assert done["rows"] == VMS
    assert done["problems"] == 0
    assert done["reader_bytes"] < 250 * MIB
    assert done["own_bytes"] < 160 * MIB
    assert done["cpu_seconds"] < 8  # of both: three on an idle machine of 2026


def measured(path: Path) -> dict[str, float]:
    plan = understand(read(path.read_bytes(), path.name))
    own, reader = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rows": len(plan.rows),
        "problems": len(plan.problems),
        "own_bytes": peak(),
        "reader_bytes": reader.ru_maxrss << 10,
        "cpu_seconds": own.ru_utime + reader.ru_utime,
    }


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1]))))
