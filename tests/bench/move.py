"""The whole move of the lab's guest with 8 GiB on its second disk, to the defined domain, against virt-v2v.

What both do alike is the conversion, which takes longest: ours is the step `convert`; of virt-v2v it is from its first
look at the guest until it begins to set up the destination. All else is what the figure is of.
"""

from __future__ import annotations

import os
import subprocess
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from converters import appliance
from converters.accelerator import probe
from tests.bench import data, labs
from tests.bench.measure import in_turns
from tests.bench.results import Outcome
from tests.bench.stats import Run, figure, ratios
from tests.bench.v2v_times import conversion_seconds
from tests.lab import DiskSpec, Lab, VmSpec, build_guest
from tests.libvirt_host import LibvirtHost
from tests.service import Service

TITLE = "The whole move, 8 GiB on the second disk, to the defined domain"
MIB = 8192
OURS, PEER = "vmferry migrate", "virt-v2v -ic vpx:// -o libvirt"
VM = "bench"


def prepare() -> None:
    labs.prepare()
    data.second_disk(build_guest(), MIB)


def measure(runs: int, folder: Path) -> Outcome:
    guest = build_guest()
    system = guest.vm(VM, on=False)
    disks = [system.disks[0], DiskSpec(data.second_disk(guest, MIB))]
    with Lab(folder / "lab") as lab, LibvirtHost() as host, Service(folder / "home") as service:
        vm = lab.add(VmSpec(VM, disks, system.nics, on=False, hostname=guest.hostname, change_tracking=True))
        place = (f"{lab.host}:{lab.port}", "--username", lab.username, "--password-file", str(lab.password_file))
        service.run("source", "add", "lab", *place, "--ca-file", str(lab.ca_file))
        service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")
        sides = in_turns(
            {OURS: lambda: _migrate(service), PEER: lambda: _virt_v2v(lab, host)},
            runs,
            warm=[Path(disk["path"]) for disk in lab.vm(vm)["disks"]],
            settle=lambda: _remove(host),
        )
        _remove(host)
    return Outcome(
        [
            figure(
                "of all that virt-v2v does but convert", ratios(sides[OURS], sides[PEER], _rest), bar=0.4, bound="most"
            ),
            figure("of virt-v2v's whole time", ratios(sides[OURS], sides[PEER])),
        ],
        sides,
    )


def _rest(run: Run) -> float:
    return run.seconds - run.facts["convert_s"]


def _migrate(service: Service) -> dict[str, float]:
    """From the job's making to the end of the step that defines the domain. The guest is not started."""
    job = service.json("migrate", "lab", VM, "--target-name", f"{VM}-{os.urandom(3).hex()}", "--wait", check=False)
    if job["state"] != "succeeded":
        raise RuntimeError(f"the move {job['state']}: {job['error']}")
    steps = {step["name"]: step for step in job["steps"]}
    passed = datetime.fromisoformat(steps["define"]["ended_at"]) - datetime.fromisoformat(job["created_at"])
    return {"seconds": passed.total_seconds(), **{f"{name}_s": step["seconds"] or 0.0 for name, step in steps.items()}}


def _virt_v2v(lab: Lab, host: LibvirtHost) -> dict[str, float]:
    user = quote(lab.username, safe="")
    uri = f"vpx://{user}@{lab.host}:{lab.port}/DC0/DC0_C0/DC0_C0_H0?no_verify=1"
    words = ["virt-v2v", "-ic", uri, "-ip", str(lab.password_file), VM, "-o", "libvirt", "-oc", host.uri]
    words += ["-os", host.pool, "-of", "qcow2", "-on", f"{VM}-{os.urandom(3).hex()}", "--network", host.network]
    environment = os.environ | appliance.environment(probe())
    started = time.monotonic()
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"virt-v2v exited {done.returncode}: {done.stderr[-2000:]}")
    os.sync()
    return {"seconds": time.monotonic() - started, "convert_s": conversion_seconds(done.stdout.splitlines())}


def _remove(host: LibvirtHost) -> None:
    """What the last run made."""
    for domain in host.domains():
        domain.undefine()
    host.connection.storagePoolLookupByName(host.pool).refresh()
    for volume in host.pool_path.iterdir():
        volume.unlink()
