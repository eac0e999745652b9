"""A source in memory: VMs with disks as bytes, an operator who interferes, and faults on demand."""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.domain.errors import LeaseExpired, NotFound, ShutdownFailed, SourceChanged, SourceDenied
from app.domain.models import VM, Check, PowerState, Transport, Way
from app.ports.disks import ByteStream
from app.ports.source import CancelCheck
from tests.contract.memory.ranges import MemoryRangeDisk
from tests.hostile.streams import SECTOR, Writer, pieces

PRIVILEGES = ("VApp.Export", "VirtualMachine.Interact.PowerOff", "VirtualMachine.Interact.PowerOn")
_NEEDS = {"export": PRIVILEGES[0], "shut_down": PRIVILEGES[1], "power_on": PRIVILEGES[2]}


@dataclass
class _Fault:
    error: BaseException
    skip: int
    count: int


@dataclass
class MemorySource:
    """`vms` and `disks` ((vm id, disk key) → raw bytes) make the platform; the other attributes disturb it.

    hanging: VMs whose guests ignore a shutdown. denied: privileges taken away. calls: (method, vm id) of each call.
    """

    vms: Iterable[VM] = ()
    disks: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    uuid: str = "50197e88-305e-5229-9375-eb247c09e9c1"
    hanging: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._vms = {vm.id: vm for vm in self.vms}
        self._starts: dict[str, list[datetime]] = defaultdict(list)
        self._faults: dict[str, list[_Fault]] = defaultdict(list)
        self._leases: list[MemoryExport] = []
        self._disks = dict(self.disks)

    # what tests do to it

    def add(self, vm: VM, disks: Mapping[int, bytes]) -> None:
        self._vms[vm.id] = vm
        self._disks |= {(vm.id, key): data for key, data in disks.items()}

    def fail_next(self, method: str, error: BaseException, *, skip: int = 0, count: int = 1) -> None:
        """Let a method of the port raise, or "read" (of an open stream), "open" (of a disk), "complete" or "abort"."""
        self._faults[method].append(_Fault(error, skip, count))

    def start(self, vm_id: str, *, at: datetime | None = None) -> None:
        """Somebody else powers it on."""
        self._set(vm_id, PowerState.ON)
        self._starts[vm_id].append(at or self.now())

    def stop(self, vm_id: str) -> None:
        """Somebody else cuts its power."""
        self._set(vm_id, PowerState.OFF)

    def expire_leases(self) -> None:
        for lease in self._leases:
            lease.over = lease.over or "the export lease timed out"
        self._leases.clear()

    def write(self, vm_id: str, key: int, data: bytes) -> None:
        """The VM ran, and its guest changed the whole disk."""
        self._disks[vm_id, key] = data

    def open_leases(self, vm_id: str) -> int:
        return sum(lease.vm_id == vm_id for lease in self._leases)

    # the port

    def check(self) -> list[Check]:
        self._enter("check")
        rows = [Check(name=name, ok=True, detail="in memory") for name in ("reachable", "certificate", "api", "login")]
        for privilege in PRIVILEGES:
            held = privilege not in self.denied
            rows.append(
                Check(name=f"privilege {privilege}", ok=held, detail="", remedy="" if held else f"Add {privilege}.")
            )
        return rows

    def identity(self) -> str:
        self._enter("identity")
        return self.uuid

    def inventory(self) -> list[VM]:
        self._enter("inventory")
        return sorted(self._vms.values(), key=lambda vm: (vm.name, vm.id))

    def vm(self, vm_id: str) -> VM:
        self._enter("vm", vm_id)
        return self._get(vm_id)

    def now(self) -> datetime:
        self._enter("now")
        return datetime.now(UTC)

    def power_state(self, vm_id: str) -> PowerState:
        self._enter("power_state", vm_id)
        return self._get(vm_id).power_state

    def shut_down(self, vm_id: str, *, force: bool, timeout_s: float, cancel: CancelCheck) -> None:
        self._enter("shut_down", vm_id)
        vm = self._get(vm_id)
        if vm.power_state is PowerState.OFF:
            return
        deadline = time.monotonic() + timeout_s
        listens = vm.tools == "running" and vm.power_state is PowerState.ON
        while listens and vm_id in self.hanging and time.monotonic() < deadline:
            cancel()
            time.sleep(0.01)
        if not force and (not listens or vm_id in self.hanging):
            raise ShutdownFailed(f"the guest of {vm_id} could not be shut down", "Shut it down by hand.")
        self._set(vm_id, PowerState.OFF)

    def power_on(self, vm_id: str) -> None:
        self._enter("power_on", vm_id)
        if self._get(vm_id).power_state is not PowerState.ON:
            self.start(vm_id)

    def started_since(self, vm_id: str, when: datetime) -> bool:
        self._enter("started_since", vm_id)
        return self._get(vm_id).power_state is PowerState.ON or any(start > when for start in self._starts[vm_id])

    def annotate(self, vm_id: str, text: str) -> None:
        self._enter("annotate", vm_id)
        self._vms[vm_id] = self._get(vm_id).model_copy(update={"annotation": text})

    def ways(self, vm: VM) -> list[Way]:
        return [Way(transport=way, usable=True, reason="in memory") for way in (Transport.NFC, Transport.HTTPS)]

    @contextmanager
    def access(self, vm_id: str, transport: str, *, snapshot: str = "", cancel: CancelCheck) -> Iterator[MemoryExport]:
        self._enter("export", vm_id)
        if self._get(vm_id).power_state is not PowerState.OFF:
            raise SourceChanged(f"{vm_id} is on", "See to it that nobody starts it.")
        cancel()
        disks = {disk.key: self._disks[vm_id, disk.key] for disk in self._get(vm_id).disks}
        lease = MemoryExport(self, vm_id, disks, Transport(transport))
        self._leases.append(lease)
        try:
            yield lease
        except BaseException:
            self._end(lease, "abort")
            raise
        self._end(lease, "complete")

    def close(self) -> None:
        self.closed = True

    def fail(self, method: str) -> None:
        """Raise the next fault planned for a method, if any."""
        for fault in self._faults[method]:
            if fault.skip:
                fault.skip -= 1
            elif fault.count:
                fault.count -= 1
                raise fault.error

    def _enter(self, method: str, vm_id: str = "") -> None:
        self.calls.append((method, vm_id))
        self.fail(method)
        if _NEEDS.get(method) in self.denied:
            raise SourceDenied(f"the account lacks the privilege {_NEEDS[method]}", f"Add {_NEEDS[method]}.")

    def _get(self, vm_id: str) -> VM:
        if vm_id not in self._vms:
            raise NotFound(f"no VM {vm_id}", "List the inventory.")
        return self._vms[vm_id]

    def _set(self, vm_id: str, state: PowerState) -> None:
        self._vms[vm_id] = self._get(vm_id).model_copy(update={"power_state": state})

    def _end(self, lease: MemoryExport, how: str) -> None:
        self.calls.append((how, lease.vm_id))
        lease.over = lease.over or "the export has ended"
        if lease in self._leases:
            self._leases.remove(lease)
        self.fail(how)


@dataclass(frozen=True)
class MemoryDisk:
    """A StreamDisk."""

    export: MemoryExport
    key: int
    identity: str

    def open_stream(self) -> ByteStream:
        return self.export.open(self.key)


class MemoryExport:
    """An open lease; `percents` is what was reported."""

    connections = 2

    def __init__(self, source: MemorySource, vm_id: str, disks: Mapping[int, bytes], transport: Transport) -> None:
        self.transport = transport
        self.vm_id = vm_id
        self.over = ""
        self.percents: list[int] = []
        self._source = source
        self._disks = disks

    @property
    def disk_keys(self) -> Sequence[int]:
        return list(self._disks)

    def disk(self, key: int) -> MemoryDisk | MemoryRangeDisk:
        if key not in self._disks:
            raise NotFound(f"no disk {key}", "List the VM's disks again.")
        identity = f"{self.vm_id} {key} {hash(self._disks[key])}"
        if self.transport == Transport.NFC:
            return MemoryDisk(self, key, identity)
        return MemoryRangeDisk(self._disks[key], identity, self.before_read)

    def open(self, disk_key: int) -> ByteStream:
        self.alive()
        self._source.fail("open")
        disk = self._disks[disk_key]
        return _Stream(self._source, self, Writer(len(disk) // SECTOR, pieces(disk)).write())

    def report_percent(self, percent: int) -> None:
        self.percents.append(percent)

    def before_read(self) -> None:
        self._source.fail("read")
        self.alive()

    def alive(self) -> None:
        if self.over:
            raise LeaseExpired(self.over, "The disks are read again.")


class _Stream:
    def __init__(self, source: MemorySource, lease: MemoryExport, data: bytes) -> None:
        self._source, self._lease, self._bytes = source, lease, io.BytesIO(data)

    def readinto(self, buffer: memoryview) -> int:
        self._source.fail("read")
        self._lease.alive()
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
