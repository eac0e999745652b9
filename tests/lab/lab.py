"""A vCenter for tests: starts the simulator, adds VMs to it, disturbs it, and reads it without our own service."""

import contextlib
import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.lab.specs import VmSpec
from tests.lab.toolchain import simulator

START_TIMEOUT = 60


class Lab:
    """A running vCenter on 127.0.0.2, with an ESXi host on 127.0.0.3 that export leases point at.

    url, host, port, username, password: how to log in. ca_file: the lab's own CA; thumbprint: SHA-256 of the vCenter's
    certificate. log: the simulator's output. password_file: the password, mode 0600.
    directory is the lab's own: what an earlier lab left there is removed. Times are in seconds. datacenter is a path:
    folders and name, with /, \\ and % in names escaped as in the inventory.
    api_type HostAgent: it says that it is an ESXi host, and is a vCenter in all else.
    """

    def __init__(
        self,
        directory: Path,
        vms: Sequence[VmSpec] = (),
        *,
        username: str = "administrator@vsphere.local",
        password: str | None = None,
        lease_timeout: float = 300,
        session_idle: float = 0,
        http_idle: float = 0,
        host_self_signed: bool = False,
        address: str = "127.0.0.2",
        port: int = 0,
        api_version: str = "8.0.2.0",
        api_type: str = "VirtualCenter",
        datacenter: str = "DC0",
        datastore: str = "lab",
    ) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("datastore", "exports"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        self.host = address
        self.username = username
        self.password = password or secrets.token_urlsafe(18)
        self.password_file = self._secret("password", self.password)
        self.log = self.directory / "lab.log"
        token = secrets.token_hex(16)
        config = {
            "Listen": f"{address}:{port}",
            "HostListen": "127.0.0.3:0",
            "Username": username,
            "Password": self.password,
            "Token": token,
            "Directory": str(self.directory),
            "LeaseTimeout": lease_timeout,
            "SessionIdle": session_idle,
            "HTTPIdle": http_idle,
            "HostSelfSigned": host_self_signed,
            "APIVersion": api_version,
            "APIType": api_type,
            "Datacenter": datacenter,
            "Datastore": datastore,
        }
        argv = [str(simulator()), "-config", str(self._secret("lab.json", json.dumps(config)))]
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Lab-Token"] = token
        with self.log.open("wb") as log:
            # its stdin is a pipe that nobody writes to: when this process ends in whatever way, so does the simulator
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the simulator did not start:\n{self.log.read_text()[-2000:]}")
            ready = json.loads(line)
            self.port: int = ready["Port"]
            self.url = f"https://{self.host}:{self.port}"
            self.ca_file = Path(ready["CAFile"])
            self.thumbprint: str = ready["Thumbprint"]
            self.host_port: int = ready["HostPort"]
            self._control = f"http://127.0.0.1:{ready['ControlPort']}"
            self.ids = [self.add(vm) for vm in vms]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The simulator's process."""
        return self._process.pid

    def close(self) -> None:
        """Stop the simulator. Its directory stays."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._session.close()

    # inventory

    def add(self, vm: VmSpec) -> str:
        """Make a VM and give its id ("vm-123")."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="disks-") as work:
            spec = asdict(vm)
            spec["disks"] = []
            for number, disk in enumerate(vm.disks):
                path = Path(work) / f"{number}.raw"
                disk.make(path)
                spec["disks"].append({**asdict(disk), "source": None, "path": str(path)})
            return str(self._call("add", spec))

    def vm(self, key: str) -> dict[str, Any]:
        """A VM by id or name, as the simulator has it.

        {id, name, uuid, instance_uuid, power_state, boot_time, annotation, change_tracking, snapshots: [{id, name}],
        extra_config, disks: [{key, label, file, path, capacity}], macs, guest: {state, tools, hostname, address},
        open_leases}. name is escaped as vCenter does; path is the raw content of the disk on this machine.
        """
        view: dict[str, Any] = self._call("vm", key)
        return view

    def vms(self) -> dict[str, str]:
        """The names of all VMs in the inventory, by id."""
        names: dict[str, str] = self._call("vms", {})
        return names

    def power_on(self, vm_id: str, *, force: bool = False) -> None:
        """Another administrator starts a VM. Refused (409) during an export as on vCenter, unless forced."""
        self._call("power", {"ID": vm_id, "On": True, "Force": force})

    def power_off(self, vm_id: str) -> None:
        """Another administrator cuts a VM's power."""
        self._call("power", {"ID": vm_id, "On": False})

    # faults

    def fault(
        self,
        method: str,
        fault: str = "",
        *,
        count: int = 1,
        skip: int = 0,
        task: bool = False,
        message: str = "",
        delay_ms: int = 0,
    ) -> None:
        """Let a vSphere call fail with a fault's type name; count=0: until clear(). task: the task it starts fails.

        Without a fault the call is only late by delay_ms.
        Tasks can fail of PowerOnVM_Task, PowerOffVM_Task, ReconfigVM_Task, CreateSnapshot_Task, RemoveSnapshot_Task.
        """
        rule = {"Method": method, "Fault": fault, "Count": count, "Skip": skip, "Task": task}
        self._call("fault", {**rule, "Message": message, "DelayMs": delay_ms})

    def http_fault(
        self,
        prefix: str,
        *,
        status: int = 0,
        cut_bytes: int = 0,
        cut_percent: float = 0,
        flip_at: int | None = None,
        rate: int = 0,
        delay_ms: int = 0,
        count: int = 1,
        skip: int = 0,
    ) -> None:
        """Disturb replies below a path ("/nfc/", "/folder/", "/sdk"); count=0: until clear().

        status: instead of the reply. cut_*: close the connection there. flip_at: invert that byte, of a file read in
        ranges the one at that offset of the file, in the first reply that carries it. rate: bytes/s.
        """
        rule = {"Prefix": prefix, "Status": status, "CutBytes": cut_bytes, "CutPercent": cut_percent, "FlipAt": flip_at}
        self._call("http-fault", {**rule, "Rate": rate, "DelayMs": delay_ms, "Count": count, "Skip": skip})

    def expire_sessions(self) -> int:
        """End every session, as an idle timeout does; how many there were."""
        return int(self._call("expire-sessions", {}))

    def expire_leases(self) -> int:
        """Let every open lease time out; how many there were."""
        return int(self._call("expire-leases", {}))

    def deny(self, privilege: str) -> None:
        """Take a privilege away from everybody."""
        self._call("privilege", {"ID": privilege, "Granted": False})

    def grant(self, privilege: str) -> None:
        """Give a privilege back."""
        self._call("privilege", {"ID": privilege, "Granted": True})

    # switches

    def set_export_mode(self, mode: str) -> None:
        """How the body of an export ends: chunked (default), length (Content-Length) or close (of the connection)."""
        self._call("settings", {"ExportMode": mode})

    def set_lease_host(self, where: str) -> None:
        """Whom a lease's URLs name: host (default; 127.0.0.3), vcenter, or star (https://*/, as a host itself does)."""
        self._call("settings", {"LeaseHost": where})

    def set_lenient(self, lenient: bool) -> None:
        """Let the disks of running VMs be read through /folder."""
        self._call("settings", {"Lenient": lenient})

    def set_busy(self, busy: bool) -> None:
        """Whether something holds the files of all disks open, so that /folder refuses them as those of running VMs."""
        self._call("settings", {"Busy": busy})

    def set_ranges(self, announced: bool) -> None:
        """Whether /folder announces and honours byte ranges."""
        self._call("settings", {"AnnounceRanges": announced})

    def set_range_lie(self, how: str) -> None:
        """What /folder sends for a range: other (bytes elsewhere, and says so), total (a wrong size of the file), less
        (half of it), all (the whole file, with 200), or "" for the truth.
        """
        self._call("settings", {"RangeLie": how})

    def set_unescape_once(self, once: bool) -> None:
        """Whether /folder takes dcPath and dsName as they are after one unescaping; vCenter unescapes twice."""
        self._call("settings", {"UnescapeOnce": once})

    def set_datastore_type(self, kind: str) -> None:
        """VMFS (default), NFS, vsan, VVOL, …; on vsan the disks' contents are in no file."""
        self._call("settings", {"DatastoreType": kind})

    def set_tracking_lie(self, how: str) -> None:
        """How answers of QueryChangedDiskAreas are wrong: overlap, outside, backwards, stuck, half (of the areas is
        left out), or "" for the truth.
        """
        self._call("settings", {"TrackingLie": how})

    def set_max_areas(self, areas: int) -> None:
        """How many extents one answer of QueryChangedDiskAreas holds."""
        self._call("settings", {"MaxAreas": areas})

    def calls(self) -> dict[str, int]:
        """How often each vSphere method was called since the start or clear(); "nfc" counts requests for exports,
        "folder" those for files, "range" those of them with a range."""
        counts: dict[str, int] = self._call("calls", {})
        return counts

    def clear(self) -> None:
        """Forget all faults, switches, denied privileges and counts."""
        self._call("clear", {})

    def _call(self, path: str, body: Any) -> Any:
        reply = self._session.post(f"{self._control}/{path}", json=body, timeout=START_TIMEOUT)
        if reply.status_code == requests.codes.not_found:
            raise KeyError(body)
        if not reply.ok:
            raise RuntimeError(f"{path}: {reply.text.strip()}")
        return reply.json()

    def _secret(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_text(text)
        return path
