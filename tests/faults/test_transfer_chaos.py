"""Copies of more than 1 GiB that are cut a hundred times and killed fifty times all finish, and are the disk."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.process import run
from tests.contract.source_platforms import lab_spec
from tests.faults.copying import TRY_AGAIN
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.transfer.copy import COMMIT_BYTES, Pace
from workers.transfer.manifest import Manifest
from workers.transfer.ranges import AHEAD
from workers.transfer.sink import WINDOW
from workers.transfer.verify import verify_copy

MIB = 1 << 20
SIZE_MIB = 1100
CONNECTIONS = Pace().connections
# by one kill of a copy in ranges
LOST_AT_MOST = CONNECTIONS * (COMMIT_BYTES + (AHEAD + 2) * WINDOW)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    disks = [DiskSpec(size_mib=SIZE_MIB, fill_mib=SIZE_MIB, seed=3)]
    with Lab(tmp_path_factory.mktemp("lab"), [VmSpec("big", disks, on=False)], lease_timeout=4) as lab:
        yield lab


class Copying:
    """One copy, over as many processes as it takes. `read`: bytes read from the source by all of them."""

    def __init__(self, lab: Lab, folder: Path, transport: str) -> None:
        vm = lab.vm(lab.ids[0])
        self.disk = vm["disks"][0]
        self.target = folder / "disk.qcow2"
        self.read = self.runs = 0
        self._counter = folder / "read"
        self._job = folder / "job.json"
        job = {
            "source": lab_spec(lab).model_dump(mode="json"),
            "vm": lab.ids[0],
            "key": self.disk["key"],
            "capacity": self.disk["capacity"],
            "transport": transport,
            "target": str(self.target),
            "read": str(self._counter),
        }
        self._job.write_text(json.dumps(job))

    def run(self, kill_after: float | None = None) -> int | None:
        """The exit status, None when it was killed."""
        self._counter.write_bytes(bytes(8))
        self.runs += 1
        process = subprocess.Popen([sys.executable, "-m", "tests.faults.copying", str(self._job)])
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
            process.wait()
            self.read += int.from_bytes(self._counter.read_bytes(), "little")

    def finish(self) -> None:
        while (status := self.run()) == TRY_AGAIN:
            pass
        assert status == 0

    def check(self) -> None:
        run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.disk["path"], self.target])
        manifest = Manifest.load(self.target.with_suffix(".json"))
        verify_copy(self.target, manifest, progress=lambda size: None, cancel=lambda: None)


@pytest.mark.parametrize(("transport", "kills"), [("https", 30), ("nfc", 20)])
def test_fifty_kills(lab: Lab, tmp_path: Path, transport: str, kills: int) -> None:
    chance = random.Random(transport)
    begun = time.monotonic()
    first = Copying(lab, _folder(tmp_path, "whole"), transport)
    first.finish()
    whole, read_once = time.monotonic() - begun, first.read
    first.target.unlink()
    killed, again = 0, []
    while killed < kills:
        copying = Copying(lab, _folder(tmp_path, str(len(again))), transport)
        before = killed
        while killed - before < 5:
            # a kill before the connection stands would test nothing
            if copying.run(kill_after=0.5 + chance.random() * whole * 0.6) is not None:
                break  # it finished between two kills
            killed += 1
        copying.finish()
        copying.check()
        again.append(copying.read - read_once)
        if transport == "https":
            assert again[-1] <= (killed - before) * LOST_AT_MOST
        copying.target.unlink()
    print(f"\n{transport}: {killed} kills, {[size // MIB for size in again]} MiB read again of {SIZE_MIB} MiB each")


@pytest.mark.parametrize(("transport", "copies"), [("https", 10), ("nfc", 6)])
def test_a_hundred_cuts(lab: Lab, tmp_path: Path, transport: str, copies: int) -> None:
    chance = random.Random(transport)
    prefix = {"https": "/folder/", "nfc": "/nfc/"}[transport]
    cuts, again = 0, []
    for number in range(copies):
        copying = Copying(lab, _folder(tmp_path, str(number)), transport)
        planned = 7 if transport == "https" else 5
        for _ in range(planned):
            # each reply is cut once at most: a rule takes the reply that comes after those it skips
            cut = chance.randrange(1, 30 * MIB if transport == "https" else 400 * MIB)
            lab.http_fault(prefix, cut_bytes=cut, skip=chance.randrange(4) if transport == "https" else 0)
        cuts += planned
        copying.finish()
        copying.check()
        again.append(copying.read)
        copying.target.unlink()
        lab.clear()
    print(f"\n{transport}: {cuts} cuts, {[size // MIB for size in again]} MiB read for {SIZE_MIB} MiB each")


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
