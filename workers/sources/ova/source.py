"""The Source port over OVA archives and OVF folders: VMs that are files, always off, and never written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import PurePosixPath

import structlog

from app.domain.errors import NotFound, SourceDenied, TransportRefused, VmferryError
from app.domain.models import VM, Check, PowerState, SourceSpec, Transport, Way
from app.domain.places import parse_place
from app.ports.source import CancelCheck
from converters.ovf_system import System
from workers.sources.ova.disk import PackageAccess
from workers.sources.ova.package import Package, package_id, place_uuid
from workers.sources.ova.shelf import LocalShelf, Shelf, WebShelf

log = structlog.get_logger(__name__)


class OvaSource:
    """A package, or a folder of packages. Opened packages stay open until they change, or until `close`."""

    def __init__(self, spec: SourceSpec) -> None:
        """Raises InvalidRequest for a place that can be none."""
        place = parse_place(spec.host)
        self._shelf: Shelf = LocalShelf(place) if isinstance(place, PurePosixPath) else WebShelf(spec, place)
        self._where = str(place)
        self._packages: dict[str, Package] = {}

    def check(self) -> list[Check]:
        rows: list[Check] = []
        try:
            for row in self._shelf.checks():
                rows.append(row)
                if not row.ok:
                    return rows
        except VmferryError as error:
            name = ("reachable", "certificate", "ranges")[len(rows)]
            return [*rows, Check(name=name, ok=False, detail=error.message, remedy=error.remedy)]
        return [*rows, *(self._check(name) for name in self._shelf.names())]

    def identity(self) -> str:
        return place_uuid(self._shelf.place())

    def inventory(self) -> list[VM]:
        """Of a folder, a package that is not in order is left out, and `check` tells why; a single one raises."""
        names = self._shelf.names()
        found: list[VM] = []
        for name in names:
            try:
                found += self._vms(name)
            except VmferryError as error:
                if len(names) == 1:
                    raise
                log.warning("package left out", package=name, error=error.message)
        return sorted(found, key=lambda vm: (vm.name, vm.id))

    def vm(self, vm_id: str) -> VM:
        _, system = self._find(vm_id)
        return self._told(system.vm)

    def now(self) -> datetime:
        return self._shelf.now()

    def power_state(self, vm_id: str) -> PowerState:
        self._find(vm_id)
        return PowerState.OFF

    def shut_down(self, vm_id: str, *, force: bool, timeout_s: float, cancel: CancelCheck) -> None:
        """It is off."""
        self._find(vm_id)

    def power_on(self, vm_id: str) -> None:
        package, _ = self._find(vm_id)
        raise SourceDenied(
            f"{package.name} of {self._where} is a package of files: nothing runs there",
            "Start the VM where the package was exported from.",
        )

    def started_since(self, vm_id: str, when: datetime) -> bool:
        """Whether its files were written after `when`: what was copied of them may be of two minds then."""
        package, system = self._find(vm_id)
        return package.contents.changed_since(list(system.files.values()), when)

    def annotate(self, vm_id: str, text: str) -> None:
        """Packages are never written to, so that they keep no notes."""
        self._find(vm_id)

    def ways(self, vm: VM) -> list[Way]:
        return [Way(transport=Transport.FILE, usable=True, reason="the disks are read out of the package")]

    @contextmanager
    def access(self, vm_id: str, transport: str, *, snapshot: str = "", cancel: CancelCheck) -> Iterator[PackageAccess]:
        if transport != Transport.FILE:
            raise TransportRefused(f"{self._where} is read as files, not by {transport}", "")
        if snapshot:
            raise NotFound(f"{self._where} has no snapshot {snapshot!r}", "A package holds the VM as it was exported.")
        cancel()
        name = self._name_of(vm_id)
        package = Package(name, self._shelf.open(name))  # of its own: it must not change below the readers
        try:
            access = PackageAccess(package, package.system(vm_id))
            try:
                yield access
                access.finish()
            finally:
                access.end()
        finally:
            package.contents.close()

    def close(self) -> None:
        for package in self._packages.values():
            package.contents.close()
        self._packages.clear()

    def _find(self, vm_id: str) -> tuple[Package, System]:
        package = self._open(self._name_of(vm_id))
        return package, package.system(vm_id)

    def _name_of(self, vm_id: str) -> str:
        for name in self._shelf.names():
            if vm_id.startswith(f"{package_id(name)}-"):
                return name
        raise NotFound(f"{self._where} has no VM {vm_id!r}", "List the inventory.")

    def _vms(self, name: str) -> list[VM]:
        return [self._told(vm) for vm in self._open(name).vms()]

    def _told(self, vm: VM) -> VM:
        return vm.model_copy(update={"concerns": (*self._shelf.concerns(), *vm.concerns)})

    def _open(self, name: str) -> Package:
        known = self._packages.get(name)
        if known is not None:
            if known.contents.fresh():
                return known
            del self._packages[name]
            known.contents.close()
        package = self._packages[name] = Package(name, self._shelf.open(name))
        return package

    def _check(self, name: str) -> Check:
        try:
            package = self._open(name)
        except VmferryError as error:
            return Check(name=f"package {name}", ok=False, detail=error.message, remedy=error.remedy)
        vms = package.vms()
        size = sum(vm.disk_bytes for vm in vms)
        manifest = "a manifest" if package.digests is not None else "no manifest"
        if package.contents.manifest_is_ahead:
            manifest = "no manifest before its disks"
        return Check(
            name=f"package {name}",
            ok=True,
            detail=f"{len(vms)} VM{'' if len(vms) == 1 else 's'}, {size / (1 << 30):.1f} GiB, {manifest}",
        )
