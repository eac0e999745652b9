"""A disk of 16 GiB, 5 % of it allocated, with change tracking, over HTTPS: against nbdkit-curl with nbdcopy."""

from __future__ import annotations

from pathlib import Path

from tests.bench import data, labs, ours, peers
from tests.bench.measure import in_turns, tool
from tests.bench.results import Outcome
from tests.bench.stats import figure, ratios
from tests.lab import Lab, build_guest

TITLE = "16 GiB, 5 % allocated, tracked, over HTTPS → qcow2"
MIB, PERCENT = 16384, 5.0
OURS, PEER = "vmferry", "nbdkit-curl + nbdcopy, Debian 13, best flags"


def prepare() -> None:
    labs.prepare()
    peers.chroot()
    data.sparse(build_guest(), MIB, PERCENT)


def measure(runs: int, folder: Path) -> Outcome:
    raw = data.sparse(build_guest(), MIB, PERCENT)
    allocated = raw.stat().st_blocks * 512
    target, other = folder / "ours.qcow2", folder / "peer.qcow2"
    with labs.lab_with(folder, raw, tracking=True) as (lab, vm), peers.remote_disk(lab, vm) as remote:
        both = {OURS: lambda: _copy(lab, vm, target), PEER: lambda: peers.nbdcopy_13(remote, other)}
        sides = in_turns(both, runs, warm=[labs.content(lab, vm)])
    tool("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", target, raw)
    moved = [run.facts["network_bytes"] / allocated for run in sides[OURS]]
    return Outcome(
        [
            figure("faster than nbdkit-curl + nbdcopy, Debian 13", ratios(sides[PEER], sides[OURS]), bar=20.0),
            figure("bytes moved for each that is allocated", moved, bar=1.02, bound="most", unit=""),
        ],
        sides,
        [f"{allocated / 2**20:.0f} MiB allocated"],
    )


def _copy(lab: Lab, vm: str, target: Path) -> dict[str, float]:
    """With all bytes that passed our network meanwhile: headers, TLS, login and questions, too."""
    before = labs.network_bytes()
    told = ours.copy(lab, vm, "https", target)
    return {**told, "network_bytes": float(labs.network_bytes() - before)}
