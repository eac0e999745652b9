"""The memory of a worker, and of it with all its children, while it moves a VM of four disks; large against small."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import data, labs
from tests.bench.measure import in_turns
from tests.bench.resident import peaks, worker
from tests.bench.results import Outcome
from tests.bench.stats import Run, figure, ratios
from tests.lab import DiskSpec, Lab, VmSpec, build_guest
from tests.libvirt_host import LibvirtHost
from tests.service import Service

TITLE = "Peak memory of four disks at once"
DISKS = 4
FILL_MIB = 256
SIZES_GIB = (1, 64)
TRANSPORTS = ("nfc", "https")


def prepare() -> None:
    labs.prepare()
    for gib in SIZES_GIB:
        _disk(gib)


def measure(runs: int, folder: Path) -> Outcome:
    with Lab(folder / "lab") as lab, LibvirtHost() as host:
        for gib in SIZES_GIB:
            lab.add(VmSpec(f"disks-{gib}", [DiskSpec(_disk(gib))] * DISKS, on=False, change_tracking=True))
        sides = in_turns(
            {
                _side(gib, transport): lambda gib=gib, transport=transport: _move(folder, lab, host, gib, transport)
                for transport in TRANSPORTS
                for gib in SIZES_GIB
            },
            runs,
            warm_up=False,
        )
    rounds = list(zip(*sides.values(), strict=True))  # what all sides took in the first run, the second, …
    return Outcome(
        [
            figure("MiB, the worker", _peaks_of(rounds, "worker_mib"), bar=250, bound="most", unit=""),
            figure("MiB, with all its children", _peaks_of(rounds, "all_mib"), bar=600, bound="most", unit=""),
            figure("64 GiB disks against 1 GiB", _growth(sides)),
        ],
        sides,
    )


def _peaks_of(rounds: Sequence[Sequence[Run]], fact: str) -> list[float]:
    """The most of each round, whatever the size and the transport."""
    return [max(run.facts[fact] for run in one) for one in rounds]


def _growth(sides: Mapping[str, Sequence[Run]]) -> list[float]:
    small, large = ([run for way in TRANSPORTS for run in sides[_side(gib, way)]] for gib in SIZES_GIB)
    return ratios(large, small, lambda run: run.facts["all_mib"])


def _disk(gib: int) -> Path:
    return data.sparse(build_guest(), gib << 10, FILL_MIB / (gib << 10) * 100)


def _side(gib: int, transport: str) -> str:
    return f"{DISKS} disks of {gib} GiB, {transport}"


def _move(folder: Path, lab: Lab, host: LibvirtHost, gib: int, transport: str) -> dict[str, float]:
    """Move the disks with a service of its own, so that a peak is of this move."""
    with Service(folder / f"home-{os.urandom(4).hex()}") as service:
        place = (f"{lab.host}:{lab.port}", "--username", lab.username, "--password-file", str(lab.password_file))
        service.run("source", "add", "lab", *place, "--ca-file", str(lab.ca_file))
        service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")
        with peaks(worker(service.process.pid)) as found:
            name = f"bench-{gib}-{os.urandom(3).hex()}"
            migrate = ("migrate", "lab", f"disks-{gib}", "--target-name", name, "--transport", transport)
            job = service.json(*migrate, "--strategy", "disk_only", "--wait", check=False)
            if job["state"] != "succeeded":
                raise RuntimeError(f"the move {job['state']}: {job['error']}")
    for domain in host.domains():
        domain.undefine()
    for volume in host.pool_path.iterdir():
        volume.unlink()
    return {"worker_mib": found["own_mib"], "all_mib": found["all_mib"]}
