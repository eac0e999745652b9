"""The lab with one VM that is off, and what the scenarios on it share."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from tests.bench.measure import tool
from tests.lab import DiskSpec, Lab, VmSpec
from tests.lab.toolchain import simulator

LEASE_S = 30.0


@contextmanager
def lab_with(folder: Path, disk: Path, *, tracking: bool = False) -> Iterator[tuple[Lab, str]]:
    """A lab in `folder` with a VM that has a copy of `disk`; the VM's id."""
    with Lab(folder / "lab") as lab:
        yield lab, lab.add(VmSpec("bench", [DiskSpec(disk)], on=False, change_tracking=tracking))


def content(lab: Lab, vm: str) -> Path:
    """The raw file that the lab serves as the VM's first disk."""
    return Path(lab.vm(vm)["disks"][0]["path"])


@contextmanager
def export_url(lab: Lab, vm: str) -> Iterator[str]:
    """The URL of the VM's first disk in a lease that is open for as long as the block lasts."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    session = SmartConnect(host=lab.host, port=lab.port, user=lab.username, pwd=lab.password, sslContext=context)
    try:
        lease = vim.VirtualMachine(vm, session._stub).ExportVm()
        deadline = time.monotonic() + LEASE_S
        while lease.state != "ready":
            if time.monotonic() > deadline:
                raise RuntimeError("the lease does not get ready")
            time.sleep(0.05)
        yield next(str(url.url) for url in lease.info.deviceUrl if url.disk)
        lease.HttpNfcLeaseComplete()
    finally:
        Disconnect(session)


def shape(bits: int) -> None:
    """Let the loopback of our own network pass so many bits a second, in Ethernet's packets; 0: as it is by itself."""
    tool("ip", "link", "set", "lo", "mtu", "1500" if bits else "65536")
    if bits:
        tool(
            "tc",
            "qdisc",
            "replace",
            "dev",
            "lo",
            "root",
            "tbf",
            "rate",
            f"{bits}bit",
            "burst",
            "256kb",
            "latency",
            "20ms",
        )
    else:
        tool("tc", "qdisc", "del", "dev", "lo", "root")


def network_bytes() -> int:
    """All bytes that the loopback of our own network has carried."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[1])


def prepare() -> None:
    """Build the simulator while there is a network."""
    simulator()
