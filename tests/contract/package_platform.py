"""The Source suite's platform of packages: OVA archives in a folder."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.domain.models import PowerState
from tests.contract.source_platforms import Platform
from tests.packages import MIB, disk, package, spec, tar
from workers.sources import open_source


class OvaPlatform(Platform):
    """Only for tests that ask for nothing but files: no power, no leases, no privileges."""

    transport = "file"
    transports = frozenset({"file"})

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._disks: dict[tuple[str, int], bytes] = {}
        self._names: dict[str, tuple[str, str]] = {}
        self._count = 0
        self.source = open_source(spec(self._folder.name))

    def add(
        self, name: str, *, on: bool = False, tools: bool = True, hangs: bool = False, disks: Sequence[int] = (2,)
    ) -> str:
        assert not on
        assert not hangs
        self._count += 1
        data = [(random.Random(i).randbytes(MIB // 2) + bytes(MIB // 2)) * size for i, size in enumerate(disks)]
        file = f"{self._count}.ova"
        self._write(file, name, data)
        (vm_id,) = (vm.id for vm in self.source.inventory() if vm.folder == file)
        self._names[vm_id] = file, name
        self._disks |= {(vm_id, 2000 + i): raw for i, raw in enumerate(data)}
        return vm_id

    def change(self, vm_id: str, key: int) -> None:
        self._disks[vm_id, key] = self._disks[vm_id, key][:-512] + bytes(range(256)) * 2
        self._write(*self._names[vm_id], [raw for (owner, _), raw in sorted(self._disks.items()) if owner == vm_id])

    def _write(self, file: str, name: str, data: Sequence[bytes]) -> None:
        packed = [disk(f"disk{i}.vmdk", raw) for i, raw in enumerate(data)]
        (Path(self._folder.name) / file).write_bytes(tar(package(packed, name=name)))

    def raw(self, vm_id: str, key: int) -> bytes:
        return self._disks[vm_id, key]

    def power_state(self, vm_id: str) -> PowerState:
        return PowerState.OFF

    def open_leases(self, vm_id: str) -> int:
        """A package knows nothing of its readers."""
        return 0

    def remove(self) -> None:
        self._folder.cleanup()
