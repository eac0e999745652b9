"""An NFC export over TLS into a qcow2, against one curl that fetches the same bytes to nowhere."""

from __future__ import annotations

from pathlib import Path

from tests.bench import data, labs, ours, peers
from tests.bench.measure import Action, in_turns, tool
from tests.bench.results import Outcome
from tests.bench.stats import Run, figure, ratios
from tests.lab import Lab, build_guest

TITLE = "NFC export over TLS → qcow2"
OURS, PEER = "vmferry", "curl to /dev/null"
GIGABIT = 1_000_000_000


def prepare() -> None:
    labs.prepare()
    data.system(build_guest())


def measure(runs: int, folder: Path) -> Outcome:
    raw = data.system(build_guest())
    target = folder / "ours.qcow2"
    with labs.lab_with(folder, raw) as (lab, vm):
        with labs.export_url(lab, vm) as url:
            peers.curl(url, lab.ca_file)  # the lab compresses at the first reading
        exports = list((folder / "lab" / "exports").iterdir())
        sides: dict[str, Action] = {OURS: lambda: ours.copy(lab, vm, "nfc", target), PEER: lambda: _fetch(lab, vm)}
        labs.shape(GIGABIT)
        shaped = in_turns(sides, runs, warm=exports)
        labs.shape(0)
        free = in_turns(sides, runs, warm=exports)
    tool("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", target, raw)
    _same_bytes([*shaped[OURS], *shaped[PEER], *free[OURS], *free[PEER]])
    return Outcome(
        [
            figure("of curl's time on a wire of 1 Gb/s", ratios(shaped[OURS], shaped[PEER]), bar=1.1, bound="most"),
            figure("of curl's time, wire unlimited", ratios(free[OURS], free[PEER])),
        ],
        {f"{side}, {wire}": found[side] for wire, found in (("1 Gb/s", shaped), ("unlimited", free)) for side in sides},
        [f"{shaped[PEER][0].facts['wire_bytes'] / 2**30:.2f} GiB of stream"],
    )


def _fetch(lab: Lab, vm: str) -> dict[str, float]:
    with labs.export_url(lab, vm) as url:
        return peers.curl(url, lab.ca_file)


def _same_bytes(runs: list[Run]) -> None:
    if len({run.facts["wire_bytes"] for run in runs}) != 1:
        raise RuntimeError("the two sides did not read the same bytes")
