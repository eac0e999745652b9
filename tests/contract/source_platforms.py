"""The platforms that the Source suite runs on, as their operator sees them: one in memory, one a vCenter of the lab."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from app.domain.models import VM, Disk, Nic, PowerState, SourceSpec, Tls
from app.ports.source import Source
from tests.contract.memory.source import MemorySource
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, NicSpec, VmSpec
from workers.sources import open_source
from workers.sources.vsphere.nbdkit import NbdkitOptions

MIB = 1 << 20


class Platform(ABC):
    """What a test does behind the adapter's back. Disks are given by their size in MiB, and half full."""

    source: Source
    transport = "nfc"
    transports: frozenset[str] = frozenset({"nfc", "https"})  # which of them are usable for a VM that `add` made

    @abstractmethod
    def add(
        self, name: str, *, on: bool = False, tools: bool = True, hangs: bool = False, disks: Sequence[int] = (2,)
    ) -> str:
        """Make a VM with one card in slot 192, MAC 00:50:56:00:00:01 and 192.168.50.10/24; its id."""

    @abstractmethod
    def raw(self, vm_id: str, key: int) -> bytes: ...
    @abstractmethod
    def power_state(self, vm_id: str) -> PowerState: ...
    @abstractmethod
    def open_leases(self, vm_id: str) -> int: ...
    @abstractmethod
    def change(self, vm_id: str, key: int) -> None:
        """The VM runs for a while, and its guest writes to a disk."""


class ManagedPlatform(Platform):
    """One whose VMs run, keep notes, and are guarded by privileges."""

    @abstractmethod
    def annotation(self, vm_id: str) -> str: ...
    @abstractmethod
    def power_on(self, vm_id: str) -> None: ...
    @abstractmethod
    def power_off(self, vm_id: str) -> None: ...
    @abstractmethod
    def expire_leases(self) -> None: ...
    @abstractmethod
    def deny(self, privilege: str) -> None: ...


class MemoryPlatform(ManagedPlatform):
    def __init__(self) -> None:
        self._memory = MemorySource()
        self.source = self._memory
        self._disks: dict[tuple[str, int], bytes] = {}

    def add(
        self, name: str, *, on: bool = False, tools: bool = True, hangs: bool = False, disks: Sequence[int] = (2,)
    ) -> str:
        vm_id = f"vm-{len(self._disks)}"
        data = {
            2000 + i: (random.Random(i).randbytes(MIB // 2) + bytes(MIB // 2)) * size for i, size in enumerate(disks)
        }
        vm = VM(
            id=vm_id,
            name=name,
            uuid="6b13efc2-eabe-460a-9718-6facac1d5efe",
            power_state=PowerState.ON if on else PowerState.OFF,
            tools="running" if tools else "not_installed",
            cpus=2,
            memory_bytes=1024 * MIB,
            disks=tuple(
                Disk(key=key, label=f"Hard disk {i + 1}", capacity_bytes=len(data[key]), controller="pvscsi", unit=i)
                for i, key in enumerate(data)
            ),
            nics=(
                Nic(
                    key=4000,
                    label="Network adapter 1",
                    mac="00:50:56:00:00:01",
                    network="VM Network",
                    adapter="vmxnet3",
                    slot=192,
                    addresses=("192.168.50.10/24",) if on else (),
                ),
            ),
        )
        self._memory.add(vm, data)
        self._disks |= {(vm_id, key): disk for key, disk in data.items()}
        if hangs:
            self._memory.hanging.add(vm_id)
        return vm_id

    def raw(self, vm_id: str, key: int) -> bytes:
        return self._disks[vm_id, key]

    def power_state(self, vm_id: str) -> PowerState:
        return self._memory.vm(vm_id).power_state

    def annotation(self, vm_id: str) -> str:
        return self._memory.vm(vm_id).annotation

    def open_leases(self, vm_id: str) -> int:
        return self._memory.open_leases(vm_id)

    def power_on(self, vm_id: str) -> None:
        self._memory.start(vm_id)

    def power_off(self, vm_id: str) -> None:
        self._memory.stop(vm_id)

    def change(self, vm_id: str, key: int) -> None:
        disk = self._disks[vm_id, key]
        self._disks[vm_id, key] = disk[:-512] + bytes(byte ^ 0xFF for byte in disk[-512:])
        self._memory.write(vm_id, key, self._disks[vm_id, key])

    def expire_leases(self) -> None:
        self._memory.expire_leases()

    def deny(self, privilege: str) -> None:
        self._memory.denied.add(privilege)


def lab_spec(lab: Lab, **changes: object) -> SourceSpec:
    """The lab's vCenter as a registered source that trusts the lab's CA."""
    spec = SourceSpec(
        id="s",
        name="lab",
        kind="vcenter",
        host=f"{lab.host}:{lab.port}",
        username=lab.username,
        password=lab.password,
        tls=Tls(ca_pem=lab.ca_file.read_text()),
    )
    return spec.model_copy(update=changes)


class LabPlatform(ManagedPlatform):
    """A vCenter, or as `kind` esxi a host that can be read over SSH, too."""

    def __init__(self, lab: Lab, kind: str = "vcenter", nbdkit: NbdkitOptions | None = None) -> None:
        self.lab = lab
        if nbdkit is not None:
            self.transports |= {"nbd"}
        self.source = open_source(lab_spec(lab, kind=kind), nbdkit)

    def add(
        self, name: str, *, on: bool = False, tools: bool = True, hangs: bool = False, disks: Sequence[int] = (2,)
    ) -> str:
        return self.lab.add(
            VmSpec(
                name,
                [DiskSpec(size_mib=size, fill_mib=size // 2, seed=i) for i, size in enumerate(disks)],
                nics=[NicSpec(mac="00:50:56:00:00:01", ip="192.168.50.10")],
                on=on,
                tools=tools,
                shutdown="hangs" if hangs else "ok",
                change_tracking=True,
            )
        )

    def raw(self, vm_id: str, key: int) -> bytes:
        return next(Path(disk["path"]).read_bytes() for disk in self.lab.vm(vm_id)["disks"] if disk["key"] == key)

    def power_state(self, vm_id: str) -> PowerState:
        return PowerState.ON if "on" in str(self.lab.vm(vm_id)["power_state"]).lower() else PowerState.OFF

    def annotation(self, vm_id: str) -> str:
        return str(self.lab.vm(vm_id)["annotation"])

    def open_leases(self, vm_id: str) -> int:
        return int(self.lab.vm(vm_id)["open_leases"])

    def power_on(self, vm_id: str) -> None:
        self.lab.power_on(vm_id)

    def power_off(self, vm_id: str) -> None:
        self.lab.power_off(vm_id)

    def change(self, vm_id: str, key: int) -> None:
        self.lab.power_on(vm_id)
        (path,) = [Path(disk["path"]) for disk in self.lab.vm(vm_id)["disks"] if disk["key"] == key]
        with path.open("r+b") as file:
            file.seek(-512, 2)
            file.write(random.randbytes(512))
        self.lab.power_off(vm_id)

    def expire_leases(self) -> None:
        self.lab.expire_leases()

    def deny(self, privilege: str) -> None:
        self.lab.deny(privilege)
