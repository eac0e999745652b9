"""Sheets of ten thousand VMs: `plan check`, from the command to its last line, and what the service takes meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench import labs
from tests.bench.measure import in_turns
from tests.bench.resident import cpu_s, peaks, worker
from tests.bench.results import Outcome
from tests.bench.stats import figure, seconds
from tests.lab import DiskSpec, Lab, VmSpec
from tests.libvirt_host import LibvirtHost
from tests.service import Service
from tests.sheets.rvtools import Machine, workbook
from tests.system.fleet import vcenter_uuid

TITLE = "A plan of 10,000 VMs checked"
VMS = 10_000


def prepare() -> None:
    labs.prepare()


def measure(runs: int, folder: Path) -> Outcome:
    with Lab(folder / "lab") as lab, LibvirtHost() as host, Service(folder / "home") as service:
        vms = [_vm(lab, number) for number in range(VMS)]  # takes minutes
        place = (f"{lab.host}:{lab.port}", "--username", lab.username, "--password-file", str(lab.password_file))
        service.run("source", "add", "lab", *place, "--ca-file", str(lab.ca_file))
        service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")
        service.run("inventory", "lab", "--refresh")
        sheets = {"our own sheet": _template(service, folder), "an export of RVTools": _rvtools(lab, vms, folder)}
        sides = in_turns({name: lambda sheet=sheet: _check(service, sheet) for name, sheet in sheets.items()}, runs)
    rounds = list(zip(*sides.values(), strict=True))  # the slower and the larger one of each round counts
    return Outcome(
        [
            figure(
                "seconds from command to last line",
                [max(map(seconds, one)) for one in rounds],
                bar=10,
                bound="most",
                unit=" s",
            ),
            figure(
                "MiB, the API's process and its children",
                [max(run.facts["all_mib"] for run in one) for one in rounds],
                bar=512,
                bound="most",
                unit="",
            ),
        ],
        sides,
    )


def _vm(lab: Lab, number: int) -> Machine:
    name = f"web-{number}"
    return Machine(name, lab.add(VmSpec(name, [DiskSpec(size_mib=1)], on=False)))


def _check(service: Service, sheet: Path) -> dict[str, float]:
    api = service.process.pid
    before = cpu_s(api)
    with peaks(api, besides=worker(api)) as found:
        report = service.json("plan", "check", str(sheet), "--source", "lab", "--target", "kvm")
    if report["rows"] != VMS or report["vms"] != VMS:
        raise RuntimeError(f"{report['rows']} rows were checked, {report['vms']} VMs found")
    return {**found, "api_cpu_s": cpu_s(api) - before}


def _template(service: Service, folder: Path) -> Path:
    sheet = folder / "plan.xlsx"
    service.run("plan", "template", "--source", "lab", "--target", "kvm", "--to", str(sheet))
    return sheet


def _rvtools(lab: Lab, vms: Sequence[Machine], folder: Path) -> Path:
    sheet = folder / "RVTools_export_all.xlsx"
    sheet.write_bytes(workbook(vms, vcenter_uuid=vcenter_uuid(lab)))
    return sheet
