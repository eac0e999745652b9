"""A thousand VMs of a vCenter, from the command to the last line of their assessment."""

from __future__ import annotations

from pathlib import Path

from tests.bench import labs
from tests.bench.measure import in_turns
from tests.bench.results import Outcome
from tests.bench.stats import figure, seconds
from tests.lab import DiskSpec, Lab, NicSpec, VmSpec
from tests.libvirt_host import LibvirtHost
from tests.service import Service

TITLE = "1,000 VMs read from a vCenter and assessed"
VMS = 1000
OURS = "vmferry inventory --refresh --assess"


def prepare() -> None:
    labs.prepare()


def vm(number: int) -> VmSpec:
    """One to three disks, one or two cards; of ten VMs one is off, one suspended, one without Tools, one encrypted."""
    kind = number % 10
    disks = [DiskSpec(size_mib=1, thin=number % 4 > 0) for _ in range(1 + number % 3)]
    nics = [NicSpec(ip=f"10.{card}.{number // 250}.{number % 250 + 1}") for card in range(1 + number % 2)]
    return VmSpec(
        f"web-{number}",
        disks,
        nics,
        hostname=f"web-{number}",
        on=kind != 1,
        suspended=kind == 2,
        tools=kind != 3,
        encrypted=kind == 4,
        firmware="efi" if kind > 6 else "bios",
        change_tracking=number % 5 == 0,
    )


def measure(runs: int, folder: Path) -> Outcome:
    with Lab(folder / "lab") as lab, LibvirtHost() as host, Service(folder / "home") as service:
        for number in range(VMS):
            lab.add(vm(number))
        place = (f"{lab.host}:{lab.port}", "--username", lab.username, "--password-file", str(lab.password_file))
        service.run("source", "add", "lab", *place, "--ca-file", str(lab.ca_file))
        service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")
        sides = in_turns({OURS: lambda: _assess(service)}, runs)
    took = [seconds(run) for run in sides[OURS]]
    return Outcome([figure("seconds from command to last line", took, bar=60, bound="most", unit=" s")], sides)


def _assess(service: Service) -> dict[str, float]:
    found = service.json("inventory", "lab", "--refresh", "--assess")
    if len(found) != VMS:
        raise RuntimeError(f"{len(found)} VMs were assessed")
    return {verdict: sum(item["verdict"] == verdict for item in found) for verdict in ("ready", "blocked")}
