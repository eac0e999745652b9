"""The Source port over vSphere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime

from pyVmomi import vim

from app.domain.errors import SourceUnavailable, TransportRefused
from app.domain.models import VM, Check, PowerState, SourceSpec, Transport, Way
from app.ports.disks import DiskAccess
from app.ports.source import CancelCheck
from workers.sources.vsphere import check, folder, inventory, lease, nbd, power, ways
from workers.sources.vsphere.nbdkit import NbdkitOptions
from workers.sources.vsphere.session import Session


class VsphereSource:
    """One vCenter or ESXi host. Threads may share it; it connects when first asked and logs out on close."""

    def __init__(self, spec: SourceSpec, nbdkit: NbdkitOptions) -> None:
        self._spec = spec
        self._nbdkit = nbdkit
        self._session = Session(spec)

    def check(self) -> list[Check]:
        return check.run(self._session, self._spec)

    def identity(self) -> str:
        """A vCenter's instanceUuid; a host has none, so its hardware's UUID."""
        return str(self._session.about().instanceUuid or self._host_uuid()).lower()

    def inventory(self) -> list[VM]:
        return inventory.read(self._session)

    def vm(self, vm_id: str) -> VM:
        return inventory.read(self._session, vm_id)[0]

    def now(self) -> datetime:
        now: datetime = self._session.call(self._session.object(vim.ServiceInstance, "ServiceInstance").CurrentTime)
        return now.astimezone(UTC)

    def power_state(self, vm_id: str) -> PowerState:
        return power.state(self._session, vm_id)

    def shut_down(self, vm_id: str, *, force: bool, timeout_s: float, cancel: CancelCheck) -> None:
        power.shut_down(self._session, vm_id, force=force, timeout_s=timeout_s, cancel=cancel)

    def power_on(self, vm_id: str) -> None:
        power.power_on(self._session, vm_id)

    def started_since(self, vm_id: str, when: datetime) -> bool:
        return power.started_since(self._session, vm_id, when)

    def annotate(self, vm_id: str, text: str) -> None:
        power.annotate(self._session, vm_id, text)

    def ways(self, vm: VM) -> list[Way]:
        """Asks the server, and tries a real range of each disk: what it says is of the VM as it is now."""
        return ways.look(self._session, self._spec, self._nbdkit, vm.id)

    def access(
        self, vm_id: str, transport: str, *, snapshot: str = "", cancel: CancelCheck
    ) -> AbstractContextManager[DiskAccess]:
        match transport:
            case Transport.NFC:
                return lease.export(self._session, vm_id, snapshot, cancel)
            case Transport.HTTPS:
                direct = self._spec.kind == "esxi"
                return folder.read_files(self._session, vm_id, snapshot, direct=direct, cancel=cancel)
            case Transport.NBD:
                return nbd.serve_disks(self._session, self._spec, self._nbdkit, vm_id, snapshot, cancel)
        raise TransportRefused(f"there is no way {transport!r} to the disks of a vSphere VM", "Name nfc, https or nbd.")

    def close(self) -> None:
        self._session.close()

    def _host_uuid(self) -> str:
        for _, values in self._session.survey({vim.HostSystem: ["hardware.systemInfo.uuid"]}):
            if "hardware.systemInfo.uuid" in values:
                return str(values["hardware.systemInfo.uuid"])
        raise SourceUnavailable(f"{self._session.endpoint} does not tell its UUID", "Is the host in order?")
