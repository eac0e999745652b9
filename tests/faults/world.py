"""Everything a fault is injected into: the lab's vCenter, a libvirt host, a running service; and how to look at them.

What came of a fault is read from the vCenter and from libvirt, never from our own database.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import requests

from tests.lab import DiskSpec, Lab, VmSpec
from tests.libvirt_host import LibvirtHost
from tests.service import Service

ENDED = ("succeeded", "failed", "cancelled", "rolled_back", "rollback_failed")
NOTE = "owner: ops\nticket 4711"


@dataclass
class World:
    lab: Lab
    host: LibvirtHost
    service: Service
    source: str = "lab"
    target: str = "kvm"

    def api(self, method: str, path: str, *, expect: int | None = None, **options: Any) -> Any:
        """A call of the API; the answer as JSON. A status other than `expect` (default: any success) is an error."""
        token = (self.service.home / "token").read_text().strip()
        reply = requests.request(
            method,
            f"{self.service.url}/v1/{path}",
            headers={"Authorization": f"Bearer {token}"} | options.pop("headers", {}),
            timeout=90,
            **options,
        )
        right = reply.ok if expect is None else reply.status_code == expect
        assert right, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def operate(self, path: str) -> dict[str, Any]:
        """Have a worker do it and wait."""
        operation = self.api("POST", path)
        deadline = time.monotonic() + 120
        while operation["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, f"{path} did not end"
            operation = self.api("GET", f"operations/{operation['id']}", params={"wait": 10})
        return dict(operation)

    def register(self) -> None:
        """Register the lab and the libvirt host, and look at both."""
        lab, host = self.lab, self.host
        self.api(
            "POST",
            "sources",
            json={
                "name": self.source,
                "kind": "vcenter",
                "host": f"{lab.host}:{lab.port}",
                "username": lab.username,
                "password": lab.password,
                "tls": {"ca_pem": lab.ca_file.read_text()},
            },
        )
        self.api(
            "POST",
            "targets",
            json={"name": self.target, "uri": host.uri, "pool": host.pool, "networks": {"*": host.network}},
        )
        for path in (f"sources/{self.source}/check", f"targets/{self.target}/check"):
            ended = self.operate(path)
            assert ended["state"] == "succeeded", ended
            assert ended["result"]["ok"], ended

    def add_vm(self, name: str = "", *, fill_mib: int = 12, **spec: Any) -> str:
        """A small VM with two disks, and no system on them, in the lab and in our inventory; its id."""
        self._count = getattr(self, "_count", 0) + 1
        name = name or f"vmferry-fault-{os.getpid()}-{self._count}"
        spec.setdefault(
            "disks",
            [DiskSpec(size_mib=48, fill_mib=fill_mib, seed=self._count), DiskSpec(size_mib=8, fill_mib=1, seed=99)],
        )
        vm_id = self.lab.add(VmSpec(name, **{"annotation": NOTE} | spec))
        self.refresh()
        return vm_id

    def refresh(self) -> None:
        assert self.operate(f"sources/{self.source}/refresh")["state"] == "succeeded"

    def submit(self, vm_id: str, *, expect: int | None = None, **options: Any) -> dict[str, Any]:
        options = {"strategy": "disk_only"} | options
        body = {"source": self.source, "vm": vm_id, "target": self.target, "options": options}
        return dict(self.api("POST", "jobs", json=body, expect=expect))

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.api("GET", f"jobs/{job_id}"))

    def events(self, job_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.api(
            "GET", f"jobs/{job_id}/events", params={"after": found[-1]["id"] if found else 0, "limit": 500}
        )["items"]:
            found += page
        return found

    def until(self, job_id: str, reached: Callable[[dict[str, Any]], bool], timeout_s: float = 180) -> dict[str, Any]:
        """Look at the job many times a second until `reached`."""
        deadline = time.monotonic() + timeout_s
        while not reached(job := self.job(job_id)):
            assert time.monotonic() < deadline, (
                f"not reached in {timeout_s} s: {job['state']} {job['phase']} {job['error']}"
            )
            time.sleep(0.03)
        return job

    def until_phase(self, job_id: str, phase: str, timeout_s: float = 180) -> None:
        job = self.until(job_id, lambda job: job["phase"] == phase or job["state"] in ENDED, timeout_s)
        assert job["phase"] == phase, f"ended before {phase}: {job['state']} {job['error']}"

    def until_copying(self, job_id: str) -> None:
        """Until bytes of a disk have been asked for."""
        before = self.lab.calls().get("nfc", 0)
        self.until(job_id, lambda job: self.lab.calls().get("nfc", 0) > before or job["state"] in ENDED)

    def finish(self, job_id: str, timeout_s: float = 240) -> dict[str, Any]:
        return self.until(job_id, lambda job: job["state"] in ENDED, timeout_s)

    def let_no_disk_be_read(self) -> None:
        """Until the lab is cleared: each body is cut, over whichever transport."""
        self.lab.http_fault("/nfc/", cut_percent=50, count=0)
        self.lab.http_fault("/folder/", cut_bytes=2000, count=0)  # descriptors are shorter

    # ---- our processes

    def worker_pid(self) -> int:
        """The worker below `vmferry up`."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for pid in _children(self.service.process.pid):
                if b"worker" in _command(pid):
                    return pid
            time.sleep(0.1)
        raise TimeoutError("no worker below vmferry up")

    def kill_worker(self) -> None:
        """kill -9; `vmferry up` starts another."""
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while self.worker_pid() == pid and time.monotonic() < deadline:
            time.sleep(0.1)

    # ---- what is really there

    def volumes(self, job_id: str) -> list[str]:
        return sorted(path.name for path in self.host.pool_path.iterdir() if job_id in path.name)

    def domain(self, uuid: str) -> Any:
        """libvirt's domain, None when there is none."""
        try:
            return self.host.connection.lookupByUUIDString(uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def look(self, vm_id: str) -> dict[str, Any]:
        """What a rollback has to give back, as the vCenter has it."""
        vm = self.lab.vm(vm_id)
        return {key: vm[key] for key in ("power_state", "annotation", "snapshots", "open_leases", "extra_config")}

    def assert_untouched(self, vm_id: str, before: dict[str, Any], job_id: str) -> None:
        """The source is as it was, and the target holds nothing of the job."""
        assert self.look(vm_id) == before
        assert self.volumes(job_id) == []
        assert self.domain(self.lab.vm(vm_id)["uuid"]) is None
        assert not list(Path("/var/log/libvirt/qemu").glob(f"*{job_id}*"))

    def assert_moved(self, vm_id: str, job_id: str, *, note: str = NOTE) -> None:
        """The source is off and says where it went, once; one domain, with one volume for each disk, equal to it."""
        vm = self.lab.vm(vm_id)
        assert vm["power_state"] == "poweredOff"
        assert vm["open_leases"] == 0
        assert vm["annotation"].startswith(note)
        assert vm["annotation"].count(job_id) == 1
        names = [f"vmferry-{job_id}-{index}.qcow2" for index in range(len(vm["disks"]))]
        assert self.volumes(job_id) == names
        domain = self.domain(vm["uuid"])
        assert domain is not None
        for name, disk in zip(names, vm["disks"], strict=True):
            assert str(self.host.pool_path / name) in domain.XMLDesc()
            argv = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", disk["path"], str(self.host.pool_path / name)]
            subprocess.run(argv, check=True, capture_output=True)

    def attempts(self, job_id: str) -> dict[str, int]:
        return {step["name"]: step["attempts"] for step in self.job(job_id)["steps"]}

    def clean(self) -> None:
        """Forget the faults, remove the domains that tests have made."""
        self.lab.clear()
        for domain in self.host.domains():
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def descendants(pid: int) -> list[int]:
    found = [pid]
    for child in _children(pid):
        found += descendants(child)
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
