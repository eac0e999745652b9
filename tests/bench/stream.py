"""A streamOptimized VMDK of mixed data into a qcow2, from a file to a file, against qemu-img convert."""

from __future__ import annotations

from pathlib import Path

from tests.bench import data, ours, peers
from tests.bench.measure import in_turns, tool
from tests.bench.results import Outcome
from tests.bench.stats import Run, figure, ratios
from tests.lab import build_guest

TITLE = "streamOptimized VMDK → qcow2"
OURS, PEER = "vmferry image convert", f"qemu-img convert {' '.join(peers.QEMU_IMG)}"


def prepare() -> None:
    data.stream(build_guest())


def measure(runs: int, folder: Path) -> Outcome:
    guest = build_guest()
    source, raw = data.stream(guest), data.system(guest)
    target, other = folder / "ours.qcow2", folder / "peer.qcow2"
    sides = in_turns({OURS: lambda: ours.convert(source, target), PEER: lambda: peers.qemu_img(source, other)}, runs)
    tool("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", target, raw)
    copies = [Run(run.seconds - run.facts["verify_s"], run.cpu_s) for run in sides[OURS]]
    return Outcome(
        [
            figure("faster than qemu-img convert", ratios(sides[PEER], copies), bar=2.0),
            figure("the same, with our reading back", ratios(sides[PEER], sides[OURS])),
        ],
        sides,
        [f"{raw.stat().st_blocks * 512 / 2**30:.1f} GiB of data in {source.stat().st_size / 2**30:.1f} GiB of stream"],
    )
