"""The Source port over .vmx files of Workstation, Player, Fusion or a datastore: VMs that are folders of files.

Nothing is ever written there. A VM counts as running while VMware's locks lie beside its files, and as started when
its disks were written to; nothing here can start it or shut it down.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import structlog

from app.domain.errors import (
    InvalidRequest,
    NotFound,
    ShutdownFailed,
    SourceChanged,
    SourceDenied,
    SourceUnavailable,
    TransportRefused,
    VmferryError,
)
from app.domain.models import VM, Check, Concern, PowerState, SourceSpec, Transport, Way
from app.domain.places import parse_place
from app.ports.source import CancelCheck
from converters.folder import Folder, is_plain
from converters.vmdk_disk import VmdkDisk
from converters.vmx import DiskFacts, read_vm
from converters.vmx_config import MAX_CONFIG, Config, refuse

_IN_USE = "vm_is_in_use"
_SHUT_DOWN = "Shut it down in VMware. If it does not run there, VMware was killed: delete the .lck beside its files."
_COARSE_CLOCK = 5  # Linux's CLOCK_REALTIME_COARSE

log = structlog.get_logger(__name__)


class VmxSource:
    """A .vmx file, a folder with some, or a folder of such folders. A VM's id is where its .vmx is below that."""

    def __init__(self, spec: SourceSpec) -> None:
        """Raises InvalidRequest for what is no absolute path."""
        place = parse_place(spec.host)
        if not isinstance(place, PurePosixPath):
            raise InvalidRequest(
                "VMX folders are read from this machine only", "Mount the share that they are on.", pointer="/host"
            )
        self._place = Path(place)  # as it was named; a link that was named is followed, no other one

    @property
    def _root(self) -> Path:
        return Path(os.path.realpath(self._place))

    def check(self) -> list[Check]:
        try:
            names = self._names()
        except VmferryError as error:
            return [Check(name="reachable", ok=False, detail=error.message, remedy=error.remedy)]
        there = Check(
            name="reachable",
            ok=bool(names),
            detail=f"{len(names)} .vmx files in {self._place}",
            remedy="" if names else "Name a .vmx file, the folder it is in, or the folder of such folders.",
        )
        return [there, *(self._check(name) for name in names)]

    def identity(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"vmx:{self._root}"))

    def inventory(self) -> list[VM]:
        """Of a folder, a VM that is not in order is left out, and `check` tells why; a single one raises."""
        names = self._names()
        found: list[VM] = []
        for name in names:
            try:
                found.append(self._vm(name))
            except VmferryError as error:
                if len(names) == 1:
                    raise
                log.warning("vm left out", vmx=name, error=error.message)
        return sorted(found, key=lambda vm: (vm.name, vm.id))

    def vm(self, vm_id: str) -> VM:
        return self._vm(self._find(vm_id))

    def now(self) -> datetime:
        """On the clock by which this machine's kernel dates files: it lags behind the other by some milliseconds."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time.clock_gettime_ns(_COARSE_CLOCK) // 1000)

    def power_state(self, vm_id: str) -> PowerState:
        return self.vm(vm_id).power_state

    def shut_down(self, vm_id: str, *, force: bool, timeout_s: float, cancel: CancelCheck) -> None:
        state = self.power_state(vm_id)
        if state is not PowerState.OFF:
            raise ShutdownFailed(
                f"{vm_id} is {state.value}, and nothing here can shut it down",
                _SHUT_DOWN,
            )

    def power_on(self, vm_id: str) -> None:
        self._find(vm_id)
        raise SourceDenied(f"{vm_id} is a folder of files: nothing here can start it", "Start it in VMware.")

    def started_since(self, vm_id: str, when: datetime) -> bool:
        """Whether it is in use, or its disks were written to, at `when` or later."""
        vm = self.vm(vm_id)
        if vm.power_state is not PowerState.OFF:
            return True
        with ExitStack() as opened:
            folder = opened.enter_context(Folder(self._path(vm_id).parent))
            for disk in vm.disks:
                for file in opened.enter_context(VmdkDisk(folder, disk.path)).files:
                    if file.changed_at() >= when:
                        return True
        return False

    def annotate(self, vm_id: str, text: str) -> None:
        """Nothing: the files are not ours to write, and their VMware may have the .vmx open."""
        self._find(vm_id)

    def ways(self, vm: VM) -> list[Way]:
        against = [concern.cause for concern in vm.concerns if concern.severity == "blocker"]
        reason = "; ".join(against) or "the disks' files are read where they are"
        return [Way(transport=Transport.FILE, usable=not against, reason=reason)]

    @contextmanager
    def access(self, vm_id: str, transport: str, *, snapshot: str = "", cancel: CancelCheck) -> Iterator[VmxAccess]:
        """Raises SourceChanged when it is in use, also while it was read."""
        if transport != Transport.FILE:
            raise TransportRefused(f"{vm_id} is read as files, not by {transport}", "")
        if snapshot:
            raise TransportRefused(f"{vm_id} cannot be read as it was in snapshot {snapshot!r}", "Revert to it first.")
        vm = self._vm_at_rest(vm_id)
        with ExitStack() as opened:
            folder = opened.enter_context(Folder(self._path(vm_id).parent))
            disks: dict[int, VmdkDisk] = {}
            for disk in vm.disks:
                cancel()
                disks[disk.key] = opened.enter_context(VmdkDisk(folder, disk.path))
                disks[disk.key].check()
            before = [disk.identity for disk in disks.values()]
            yield VmxAccess(disks)
            self._vm_at_rest(vm_id)
            if [disk.identity for disk in disks.values()] != before:
                raise SourceChanged(
                    f"the disks of {vm_id} were written to while they were read", "See to it that nothing uses them."
                )

    def close(self) -> None:
        """Nothing is kept open."""

    def _vm_at_rest(self, vm_id: str) -> VM:
        vm = self.vm(vm_id)
        if vm.power_state is not PowerState.OFF:
            raise SourceChanged(f"{vm_id} is {vm.power_state.value}", "Shut it down, and see to it that it stays off.")
        return vm

    def _names(self) -> list[str]:
        """The .vmx files, as paths below the place."""
        root = self._root
        if not os.path.isdir(root):
            with Folder(root.parent) as folder:
                folder.open(root.name).close()
            return [root.name]
        found: list[str] = []
        for entry in _entries(root):
            if _is_vmx(entry):
                found.append(entry.name)
            elif entry.is_dir(follow_symlinks=False) and is_plain(entry.name):
                try:
                    inside = _entries(Path(entry.path))
                except SourceDenied as error:
                    log.warning("folder left out", folder=entry.name, error=error.message)
                    continue
                found += (f"{entry.name}/{file.name}" for file in inside if _is_vmx(file))
        return sorted(found)

    def _find(self, vm_id: str) -> str:
        if vm_id not in self._names():
            raise NotFound(f"{self._place} has no VM {vm_id!r}", "List the inventory.")
        return vm_id

    def _path(self, name: str) -> Path:
        root = self._root
        return root / name if os.path.isdir(root) else root

    def _vm(self, name: str) -> VM:
        path = self._path(name)
        with Folder(path.parent) as folder:
            used = {path.name}

            def look(file: str) -> DiskFacts:
                used.add(file)
                with VmdkDisk(folder, file) as disk:
                    used.update(part.name for part in disk.files)
                    return DiskFacts(disk.capacity, "flat" if disk.is_flat else "sparse")

            vm = read_vm(
                _config(folder, path.name),
                look,
                vm_id=name,
                uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"vmx:{path}")),
                snapshots=_snapshots(folder, path.stem),
            )
            running = _is_locked(path.parent, used)
        changes: dict[str, Any] = {"folder": str(path.parent)}
        if running:
            changes |= {"power_state": PowerState.ON, "concerns": (*vm.concerns, _in_use(vm.name))}
        return vm.model_copy(update=changes)

    def _check(self, name: str) -> Check:
        try:
            vm = self._vm(name)
        except VmferryError as error:
            return Check(name=f"vm {name}", ok=False, detail=error.message, remedy=error.remedy)
        for concern in vm.concerns:
            if concern.code != _IN_USE:  # no fault of the source's
                return Check(name=f"vm {name}", ok=False, detail=concern.cause, remedy=concern.remedy)
        detail = f"{len(vm.disks)} disks, {vm.disk_bytes / (1 << 30):.1f} GiB, {vm.power_state.value}"
        return Check(name=f"vm {name}", ok=True, detail=detail)


class VmxAccess:
    """DiskAccess over open files."""

    transport = Transport.FILE
    connections = 4  # readers of files of one machine: more of them wait for each other

    def __init__(self, disks: dict[int, VmdkDisk]) -> None:
        self._disks = disks

    @property
    def disk_keys(self) -> Sequence[int]:
        return list(self._disks)

    def disk(self, key: int) -> VmdkDisk:
        if key not in self._disks:
            raise NotFound(f"the VM has no disk {key}", "List the VM's disks again.")
        return self._disks[key]

    def report_percent(self, percent: int) -> None:
        """Nobody wants to know."""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        raise SourceDenied(f"{folder} may not be read", "Let the account that vmferry runs as read it.") from error
    except OSError as error:
        raise SourceUnavailable(f"{folder} cannot be read: {error.strerror}", "Is it there, and mounted?") from error


def _is_vmx(entry: os.DirEntry[str]) -> bool:
    """Also one that is a link or a pipe: `check` tells then why it is not read."""
    name = entry.name
    return (
        name.lower().endswith(".vmx")
        and not name.startswith(".")
        and is_plain(name)
        and not entry.is_dir(follow_symlinks=False)
    )


def _config(folder: Folder, name: str) -> Config:
    file = folder.open(name)
    try:
        if file.size > MAX_CONFIG:
            raise refuse(f"it has {file.size} bytes")
        return Config.parse(file.read(0, file.size))
    finally:
        file.close()


def _snapshots(folder: Folder, stem: str) -> Config | None:
    try:
        return _config(folder, f"{stem}.vmsd")
    except NotFound:
        return None


def _in_use(name: str) -> Concern:
    return Concern(
        code=_IN_USE,
        severity="blocker",
        cause=f"{name} is in use: VMware's lock lies beside its files, and nothing here can shut it down",
        remedy=_SHUT_DOWN,
    )


def _is_locked(folder: Path, used: set[str]) -> bool:
    """Whether one of the files is locked: by a folder NAME.lck with something in it, or a file as hosts write them."""
    for entry in _entries(folder):
        ours = entry.name.endswith(".lck") and entry.name.removesuffix(".lck") in used
        if ours and entry.is_dir(follow_symlinks=False):
            if _entries(Path(entry.path)):
                return True
        elif ours or entry.name.startswith(".lck-"):  # on NFS, where the name does not tell whose it is
            return True
    return False
