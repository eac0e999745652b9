"""The Source suite's platform of VMX folders."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.domain.models import PowerState
from tests.contract.source_platforms import MIB, Platform
from tests.vmx_folders import lock, spec, unlock, write_flat, write_vmx
from workers.sources import open_source


class VmxPlatform(Platform):
    """Only for tests that ask neither for a guest nor for leases or privileges. It is VMware that starts these VMs."""

    transport = "file"
    transports = frozenset({"file"})

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._root = Path(self._folder.name)
        self._count = 0
        self.source = open_source(spec(self._root))

    def add(
        self, name: str, *, on: bool = False, tools: bool = True, hangs: bool = False, disks: Sequence[int] = (2,)
    ) -> str:
        self._count += 1
        vm_id = f"vm {self._count}/vm.vmx"
        path = write_vmx(self._root / vm_id, name, {f"scsi0:{i}": f"disk{i}.vmdk" for i in range(len(disks))})
        for i, size in enumerate(disks):
            write_flat(path.parent, f"disk{i}", (random.Random(i).randbytes(MIB // 2) + bytes(MIB // 2)) * size)
        if on:
            self.power_on(vm_id)
        return vm_id

    def change(self, vm_id: str, key: int) -> None:
        with self._flat(vm_id, key).open("r+b") as file:
            file.seek(-512, 2)
            file.write(bytes(range(256)) * 2)

    def raw(self, vm_id: str, key: int) -> bytes:
        return self._flat(vm_id, key).read_bytes()

    def power_state(self, vm_id: str) -> PowerState:
        return PowerState.ON if (self._root / f"{vm_id}.lck").exists() else PowerState.OFF

    def open_leases(self, vm_id: str) -> int:
        """Files know nothing of their readers."""
        return 0

    def power_on(self, vm_id: str) -> None:
        lock(self._root / vm_id)
        self.change(vm_id, 2000)

    def power_off(self, vm_id: str) -> None:
        unlock(self._root / vm_id)

    def remove(self) -> None:
        self._folder.cleanup()

    def _flat(self, vm_id: str, key: int) -> Path:
        return (self._root / vm_id).with_name(f"disk{key - 2000}-flat.vmdk")
