"""A flat disk without a hole over HTTPS into a qcow2, against nbdkit-curl with nbdcopy, and against plain curls."""

from __future__ import annotations

from pathlib import Path

from app.settings import Settings
from tests.bench import data, labs, ours, peers
from tests.bench.measure import in_turns, tool
from tests.bench.results import Outcome
from tests.bench.stats import figure, ratios
from tests.lab import build_guest

TITLE = "Flat, fully allocated, over HTTPS → qcow2"
MIB = 4096
OURS, CURLS = "vmferry", "curls to files"
NEW, OLD = "nbdkit-curl + nbdcopy, Debian 13, best flags", "nbdkit-curl + nbdcopy, Debian 12"


def prepare() -> None:
    labs.prepare()
    peers.chroot()
    data.flat(build_guest(), MIB)


def measure(runs: int, folder: Path) -> Outcome:
    raw = data.flat(build_guest(), MIB)
    connections = int(Settings.model_fields["disk_connections"].default)
    target, other = folder / "ours.qcow2", folder / "peer.qcow2"
    with labs.lab_with(folder, raw) as (lab, vm), peers.remote_disk(lab, vm) as remote:
        sides = in_turns(
            {
                OURS: lambda: ours.copy(lab, vm, "https", target),
                NEW: lambda: peers.nbdcopy_13(remote, other),
                OLD: lambda: peers.nbdcopy_12(remote, other),
                CURLS: lambda: peers.curls(remote, connections, folder),
            },
            runs,
            warm=[labs.content(lab, vm)],
        )
    tool("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", target, raw)
    return Outcome(
        [
            figure("faster than nbdkit-curl + nbdcopy, Debian 12", ratios(sides[OLD], sides[OURS]), bar=4.0),
            figure("faster than Debian 13's with best flags", ratios(sides[NEW], sides[OURS]), bar=4.0),
            figure(
                f"of the time of {connections} curls to files", ratios(sides[OURS], sides[CURLS]), bar=1.5, bound="most"
            ),
        ],
        sides,
        [f"{MIB / 1024:g} GiB"],
    )
