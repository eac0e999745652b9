"""One real move, from the lab's vCenter to a running libvirt guest: `make demo`, and the system test.

python -m tests.system.demo        everything is taken away at the end, except the picture of the console
KEEP=1 python -m tests.system.demo everything stays up until Ctrl-C
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.lab.guest import REPORT_PREFIX, Guest, build_guest
from tests.lab.lab import Lab
from tests.lab.recipes import DEBIAN12, Recipe
from tests.libvirt_host import LibvirtHost
from tests.service import ROOT, Service

VM = "deb12"
FOLDER = ROOT / "build" / "demo"
REPORT_TIMEOUT_S = 420.0  # from the first sign of life to the guest's own report, without KVM


@dataclass(frozen=True)
class Stage:
    """Everything that a move needs, running: the lab with its guest, a libvirt host, the service."""

    guest: Guest
    vm_id: str
    lab: Lab
    host: LibvirtHost
    service: Service


@dataclass(frozen=True)
class MoveResult:
    """What came of it. job: as the API shows it; report: what the moved guest says of itself; seconds: of the move."""

    job: dict[str, Any]
    report: dict[str, Any]
    console: Path
    domain: str
    seconds: float
    checks: dict[str, bool]

    @property
    def ok(self) -> bool:
        return all(self.checks.values())


@contextmanager
def stage(folder: Path, recipe: Recipe = DEBIAN12) -> Iterator[Stage]:
    """Set up in `folder`, and take down again: domains, pool, network, lab and service."""
    guest = build_guest(recipe)
    with Lab(folder / "lab") as lab, LibvirtHost() as host:
        vm_id = lab.add(guest.vm(VM))
        with Service(folder / "home") as service:
            yield Stage(guest, vm_id, lab, host, service)


def register(at: Stage) -> None:
    """Register the lab as source `lab` and the libvirt host as target `kvm`, by the command line."""
    lab, host = at.lab, at.host
    source = ("source", "add", "lab", f"{lab.host}:{lab.port}", "--username", lab.username)
    at.service.run(*source, "--password-file", str(lab.password_file), "--ca-file", str(lab.ca_file))
    at.service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")


def run_move(at: Stage, *options: str) -> MoveResult:
    """Move the guest and wait for its report. Raises when the move fails; what came out wrong is in the checks."""
    name = f"vmferry-demo-{os.getpid()}"
    started = time.monotonic()
    job = migrate(at, "--target-name", name, *options)
    seconds = time.monotonic() - started
    console = at.service.home / "jobs" / job["id"] / "console-seen.png"
    report = wait_for_report(serial_log(at.host, name), REPORT_TIMEOUT_S)
    return MoveResult(job, report, console, name, seconds, judge(at, report, console))


def migrate(at: Stage, *options: str) -> dict[str, Any]:
    """The job of a move, once it has succeeded. Raises RuntimeError when it has not."""
    job: dict[str, Any] = at.service.json(
        "migrate", "lab", VM, "--target", "kvm", "--wait", *options, stderr=None, check=False
    )
    if job["state"] != "succeeded":
        raise RuntimeError(f"the move {job['state']}: {json.dumps(job['error'], indent=2)}")
    return job


def judge(at: Stage, report: dict[str, Any], console: Path) -> dict[str, bool]:
    """What has to be true after the move, each by its own evidence."""
    guest, source = at.guest, at.lab.vm(at.vm_id)
    return {
        f"its host name is still {guest.hostname}": report["hostname"] == guest.hostname,
        f"{guest.address}/{guest.prefix} is on {guest.nic}": f"{guest.address}/{guest.prefix}"
        in report["addresses"].get(guest.nic, []),
        f"{guest.nic} still has the MAC {guest.mac}": report["macs"].get(guest.nic) == guest.mac,
        "/srv is mounted": "/srv" in report["mounts"],
        "all disks are on virtio": {disk["driver"] for disk in report["disks"]} == {"virtio_blk"},
        "the marker files of all disks are unchanged": report["checksums"] == guest.markers,
        "there is a picture of its console": console.is_file() and console.read_bytes().startswith(b"\x89PNG"),
        "the source is off": source["power_state"] == "poweredOff",
        "the source says where it went": "vmferry" in source["annotation"],
    }


def serial_log(host: LibvirtHost, name: str) -> Path:
    """Where libvirt writes what a domain says on its first serial port."""
    xml = ElementTree.fromstring(host.connection.lookupByName(name).XMLDesc())
    log = xml.find("devices/serial/log")
    if log is None:
        raise RuntimeError(f"the domain {name} has no serial log")
    return Path(log.get("file", ""))


def wait_for_report(log: Path, timeout_s: float) -> dict[str, Any]:
    """The guest's self-report, from its serial log."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace") if log.exists() else ""
        for line in text.splitlines():
            _, prefix, rest = line.partition(REPORT_PREFIX)
            with suppress(json.JSONDecodeError):  # it is being written just now
                if prefix:
                    report: dict[str, Any] = json.loads(rest)
                    return report
        time.sleep(1)
    raise TimeoutError(f"the moved guest did not report within {timeout_s:g} s: see {log}")


def show(result: MoveResult) -> None:
    """Print what people want to know."""
    progress = result.job["progress"]
    print("\nSteps")
    for step in result.job["steps"]:
        spent = datetime.fromisoformat(step["ended_at"]) - datetime.fromisoformat(step["started_at"])
        print(f"  {step['name']:12} {spent.total_seconds():7.1f} s  {step.get('detail', '')}")
    print(f"  {'in all':12} {result.seconds:7.1f} s")
    print(f"\nMoved    {progress['bytes_done'] / 2**20:,.0f} MiB")
    print(f"Skipped  {progress['bytes_skipped'] / 2**20:,.0f} MiB that are zeros")
    print("\nThe guest says of itself")
    print("  " + json.dumps(result.report, indent=2).replace("\n", "\n  "))
    print("\nChecks")
    for what, right in result.checks.items():
        print(f"  {'ok    ' if right else 'FAILED'} {what}")


def keep_picture(console: Path) -> Path:
    kept = FOLDER / "console.png"
    shutil.copyfile(console, kept)
    return kept


def wait_for_ctrl_c(at: Stage, domain: str) -> None:
    print(f"\nEverything stays up until Ctrl-C. The guest: virsh -c {at.host.uri} console {domain}")
    print(f"The service: VMFERRY_HOME={at.service.home} VMFERRY_URL={at.service.url} .venv/bin/vmferry job list")
    print(f"Its API: {at.service.url}/openapi.json")
    with suppress(KeyboardInterrupt):
        signal.pause()


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    started = time.monotonic()
    print("Building the lab's guest, a Debian 12 with two disks: minutes the first time, then it is in a cache …")
    with stage(FOLDER) as at:
        print(f"A vCenter answers on {at.lab.url}, and vmferry on {at.service.url}. Moving {VM} …")
        register(at)
        result = run_move(at)
        show(result)
        print(f"\nIts console: {keep_picture(result.console)}")
        if os.environ.get("KEEP"):
            wait_for_ctrl_c(at, result.domain)
    shutil.rmtree(FOLDER / "lab")
    if not os.environ.get("KEEP"):
        print("All of it is taken down again. To look around: KEEP=1 make demo")
        print("For VMs of yours: make run, and in another terminal: .venv/bin/vmferry --help")
    print(f"Done in {time.monotonic() - started:.0f} s.")
    return 0 if result.ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AssertionError, RuntimeError, TimeoutError, subprocess.CalledProcessError) as error:
        sys.exit(f"demo: {error}")
