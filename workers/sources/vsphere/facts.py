"""What the ways to a VM's disks depend on, as it is now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from app.domain.errors import NotFound, SourceChanged, TransportRefused
from app.domain.models import Disk, PowerState
from workers.sources.vsphere import devices
from workers.sources.vsphere.power import STATES
from workers.sources.vsphere.session import Session, numbers

_PATH = re.compile(r"\[(?P<datastore>.+?)\] (?P<folder>(?:[^/]+/)*)(?P<name>[^/]+)\.vmdk")
_PATHS = (
    "config.changeTrackingEnabled",
    "config.changeVersion",
    "config.hardware.device",
    "runtime.host",
    "runtime.powerState",
    "snapshot",
)


@dataclass(frozen=True)
class Place:
    """Where a disk's descriptor is: `folder` ends with a slash or is empty, `name` is without ".vmdk"."""

    datastore: str
    folder: str
    name: str

    @classmethod
    def parse(cls, path: str) -> Place:
        """From "[datastore] folder/name.vmdk". Raises TransportRefused."""
        match = _PATH.fullmatch(path)
        if not match or ".." in match["folder"].split("/"):
            raise TransportRefused(f"{path!r} is no path of a disk in a datastore")
        return cls(match["datastore"], match["folder"], match["name"])


@dataclass(frozen=True)
class Facts:
    """A VM; `version` changes with its configuration, which every start does."""

    power: PowerState
    snapshots: bool
    tracking: bool
    version: str
    disks: tuple[Disk, ...]
    datastores: dict[int, Any]  # disk key → the datastore's reference
    host: Any


def look(session: Session, vm_id: str, snapshot: str = "") -> Facts:
    """The VM with its disks as they are, or were in a snapshot. Raises NotFound."""
    seen = session.properties(session.object(vim.VirtualMachine, vm_id), *_PATHS)
    if "runtime.powerState" not in seen:
        raise NotFound(f"{session.endpoint} hides {vm_id}, or has it no more", "List the inventory.")
    if snapshot:
        then = session.object(vim.vm.Snapshot, snapshot)
        seen |= session.properties(then, "config.hardware.device", "config.changeVersion")
    hardware = seen.get("config.hardware.device") or ()
    return Facts(
        power=STATES[seen["runtime.powerState"]],
        snapshots=seen.get("snapshot") is not None,
        tracking=bool(seen.get("config.changeTrackingEnabled")),
        version=seen.get("config.changeVersion") or "",
        disks=devices.disks(hardware),
        datastores={d.key: getattr(d.backing, "datastore", None) for d in hardware if hasattr(d, "backing")},
        host=seen.get("runtime.host"),
    )


def require_off(facts: Facts, vm_id: str) -> None:
    """Raise SourceChanged unless it is off."""
    if facts.power is not PowerState.OFF:
        raise SourceChanged(f"{vm_id} is {facts.power}: its disks are in use", "See to it that it stays off.")


def host_version(session: Session, host: Any) -> tuple[int, ...]:
    """The API version of the VM's host, for example (8, 0, 2, 0); () when it is not told."""
    if host is None:
        return ()
    return numbers(session.properties(host, "config.product.apiVersion").get("config.product.apiVersion") or "")


def datastore_type(session: Session, datastore: Any) -> str:
    """In lower case: vmfs, nfs, nfs41, vsan, vvol, …; empty when it is not told."""
    return (session.properties(datastore, "summary.type").get("summary.type") or "").lower()


def datacenter_path(session: Session, datastore: Any) -> str:
    """The inventory path of the datacenter that a datastore is in, without the root folder: "Folder/Name".

    Names are as the inventory has them, with /, \\ and % escaped. A host asked directly is in its "ha-datacenter".
    """
    names: list[str] = []
    ref = datastore
    while ref is not None:
        seen = session.properties(ref, "name", "parent")
        parent = seen.get("parent")
        if isinstance(ref, vim.Datacenter):
            names = []
        if parent is not None:
            names.insert(0, seen.get("name") or "")
        ref = parent
    if not all(names):
        raise TransportRefused("the account may not see the folders above the datastore's datacenter")
    return "/".join(names)
