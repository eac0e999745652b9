"""Many small VMs of a vCenter, without a system on them, a libvirt host and the service: for the tests of plans.

What came of a plan is read from libvirt and from the vCenter, never from our own database.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pyVim.connect import Disconnect

from tests.component.lab.support import connect
from tests.lab import DiskSpec, Lab, VmSpec
from tests.libvirt_host import LibvirtHost
from tests.service import Service
from tests.sheets.rvtools import Machine, workbook

NOTE = "owner: ops"
KEPT = ("power_state", "annotation", "snapshots", "open_leases", "extra_config")
DEFINITIONS = Path("/etc/libvirt/qemu")
LEASE_S = 20  # of a worker that was killed while it held one, its VM is free then


def vm(name: str, number: int) -> VmSpec:
    """One or two disks of 2 to 8 MiB, not full, so that they are read by range; every fourth VM runs."""
    disks = [DiskSpec(size_mib=2 + number % 7, fill_mib=1, seed=number)]
    if number % 5 == 0:
        disks.append(DiskSpec(size_mib=2, fill_mib=1, seed=1000 + number))
    return VmSpec(name, disks, on=number % 4 == 0, change_tracking=True, annotation=NOTE, memory_mib=256)


@dataclass
class Fleet:
    """names: of the VMs, in order; before: what the vCenter had of each, by name."""

    lab: Lab
    host: LibvirtHost
    service: Service
    names: Sequence[str]
    before: dict[str, dict[str, Any]]

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def token(self) -> str:
        return (self.service.home / "token").read_text().strip()

    def moved(self) -> set[str]:
        """The VMs that libvirt has."""
        return {domain.name() for domain in self.host.domains()} & set(self.names)

    def assert_moved(self, name: str) -> None:
        """The source is off and says so; the domain is it, and each of its volumes is equal to a disk of the source."""
        source = self.lab.vm(name)
        assert source["power_state"] == "poweredOff", name
        assert source["annotation"].startswith(f"{NOTE}\n"), name
        domain = self.host.connection.lookupByName(name)
        assert domain.UUIDString() == source["uuid"]
        volumes = self.volumes(name)
        assert len(volumes) == len(source["disks"])
        for volume, disk in zip(volumes, source["disks"], strict=True):
            assert volume.parent == self.host.pool_path
            argv = ["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", disk["path"], str(volume)]
            assert subprocess.run(argv, check=False).returncode == 0, (name, volume)

    def assert_untouched(self, name: str) -> None:
        """The source is as it was, and libvirt has nothing of it."""
        source = self.lab.vm(name)
        assert {key: source[key] for key in KEPT} == self.before[name], name
        assert name not in self.moved()

    def assert_nothing_else(self) -> None:
        """The pool holds the volumes of what was moved, and nothing that is left over."""
        known = {volume for name in self.moved() for volume in self.volumes(name)}
        assert set(self.host.pool_path.iterdir()) == known

    def volumes(self, name: str) -> list[Path]:
        xml = ElementTree.fromstring(self.host.connection.lookupByName(name).XMLDesc())
        return [Path(source.get("file", "")) for source in xml.iterfind("devices/disk[@device='disk']/source")]

    def begun_at(self, name: str) -> float:
        """When the first of its volumes was made, in seconds of the clock."""
        argv = ["stat", "--format=%.W", *map(str, self.volumes(name))]
        return min(map(float, subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()))

    def there_at(self, name: str) -> float:
        """When libvirt was given its domain."""
        return (DEFINITIONS / f"{name}.xml").stat().st_mtime

    def rvtools(self) -> bytes:
        """The workbook that RVTools would write of this vCenter."""
        return workbook([machine(self.lab, name) for name in self.names], vcenter_uuid=vcenter_uuid(self.lab))

    def until(self, reached: Callable[[], bool], timeout_s: float = 180) -> None:
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, self.service.log.read_text()[-4000:]
            time.sleep(0.5)


def break_disks(lab: Lab, name: str) -> None:
    """Until the lab is cleared nobody can copy the disks of one VM. Others are read, as long as that is by range."""
    lab.http_fault(f"/folder/{name}/", cut_bytes=2000, count=0)  # descriptors are shorter
    lab.http_fault("/nfc/", cut_percent=50, count=0)


def machine(lab: Lab, name: str) -> Machine:
    found = lab.vm(name)
    return Machine(
        name,
        found["id"],
        bios_uuid=found["uuid"],
        instance_uuid=found["instance_uuid"],
        disks_mib=tuple(disk["capacity"] >> 20 for disk in found["disks"]),
        running=found["power_state"] == "poweredOn",
    )


def vcenter_uuid(lab: Lab) -> str:
    session = connect(lab)
    try:
        return str(session.content.about.instanceUuid)
    finally:
        Disconnect(session)


@contextmanager
def fleet(folder: Path, count: int, kind: str) -> Iterator[Fleet]:
    """`count` VMs, named after `kind`; source vc and target kvm are registered, and the inventory is read."""
    names = [f"{kind}-{os.getpid()}-{number:02}" for number in range(1, count + 1)]
    settings = {"VMFERRY_MAX_JOBS": "4", "VMFERRY_RETRY_ATTEMPTS": "2", "VMFERRY_RETRY_BACKOFF_S": "0.2"}
    with (
        Lab(folder / "lab", [vm(name, number) for number, name in enumerate(names)], lease_timeout=LEASE_S) as lab,
        LibvirtHost() as host,
        Service(folder / "home", **settings) as service,
    ):
        place = (f"{lab.host}:{lab.port}", "--username", lab.username, "--password-file", str(lab.password_file))
        service.run("source", "add", "vc", *place, "--ca-file", str(lab.ca_file))
        service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")
        service.run("inventory", "vc", "--refresh")
        before = {name: {key: lab.vm(name)[key] for key in KEPT} for name in names}
        yield Fleet(lab, host, service, names, before)
