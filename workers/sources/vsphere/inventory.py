"""What is there: every VM with all that preflight judges, read in one pass of the property collector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyVmomi import vim

from app.domain.errors import NotFound
from app.domain.models import VM, Concern
from app.domain.vnuma import nodes_of
from workers.sources.vsphere import devices, networks
from workers.sources.vsphere.networks import Network
from workers.sources.vsphere.power import STATES
from workers.sources.vsphere.session import Session, numbers
from workers.sources.vsphere.words import unescape

MIB = 1 << 20

_VM_PATHS = (
    "name",
    "parent",
    "config.annotation",
    "config.bootOptions",
    "config.changeTrackingEnabled",
    "config.cpuAllocation",
    "config.cpuHotAddEnabled",
    "config.extraConfig",
    "config.firmware",
    "config.guestFullName",
    "config.guestId",
    "config.hardware",
    "config.instanceUuid",
    "config.memoryAllocation",
    "config.memoryHotAddEnabled",
    "config.memoryReservationLockedToMax",
    "config.template",
    "config.uuid",
    "guest.hostName",
    "guest.ipStack",
    "guest.net",
    "guest.toolsRunningStatus",
    "guest.toolsStatus",
    "runtime.connectionState",
    "runtime.faultToleranceState",
    "runtime.host",
    "runtime.powerState",
    "snapshot",
)
_NEWER_PATHS = {"config.keyId": (6, 5), "config.numaInfo": (8, 0, 0, 1)}  # since which version of the API
_PLACES: dict[type[Any], tuple[str, ...]] = {
    vim.Folder: ("name", "parent"),
    vim.Datacenter: ("name", "parent"),
    vim.ComputeResource: ("name", "parent"),
    vim.HostSystem: ("name", "parent", "summary.hardware.cpuMhz", *networks.HOST_PATHS),
    **networks.PATHS,
}
_RECONNECT = {
    "disconnected": "Bring its host back, or reconnect it in vSphere.",
    "inaccessible": "Make its datastore reachable again, or remove the VM from the inventory.",
    "invalid": "Its .vmx cannot be read: repair it, or register the VM anew.",
    "orphaned": "No host has it any more: register its .vmx anew, or remove the VM from the inventory.",
}
_NO_FT = (None, "", "notConfigured", "disabled")


def read(session: Session, vm_id: str | None = None) -> list[VM]:
    """All VMs by name, or the one asked for. Raises NotFound when that one is not there."""
    wanted = None if vm_id is None else session.object(vim.VirtualMachine, vm_id)
    about = session.about()
    version = numbers(about.apiVersion)
    newer = [path for path, since in _NEWER_PATHS.items() if version >= since]
    kinds = {vim.VirtualMachine: (*_VM_PATHS, *newer), **_PLACES}
    if about.apiType == "VirtualCenter":
        kinds |= networks.VCENTER_PATHS
    found = session.survey(kinds, only=wanted)
    places = {ref._GetMoId(): (ref, values) for ref, values in found if not isinstance(ref, vim.VirtualMachine)}
    known = dict(networks.networks(places))
    vms = [
        _as_vm(ref._GetMoId(), values, places, known) for ref, values in found if isinstance(ref, vim.VirtualMachine)
    ]
    if wanted is not None and not vms:
        raise NotFound(f"{session.endpoint} has no VM {vm_id}", "List the inventory.")
    return sorted(vms, key=lambda vm: (vm.name, vm.id))


def _as_vm(moid: str, values: dict[str, Any], places: dict[str, Any], known: dict[str, Network]) -> VM:
    hardware = values.get("config.hardware")  # unset while a VM is being made, or is inaccessible
    all_devices = hardware.device if hardware else []
    boot = values.get("config.bootOptions")
    extra = {option.key: str(option.value) for option in values.get("config.extraConfig") or ()}
    cpus, memory = (hardware.numCPU, hardware.memoryMB * MIB) if hardware else (1, 0)
    memory_limit = devices.limit_of(values.get("config.memoryAllocation"))
    reserved = memory if values.get("config.memoryReservationLockedToMax") else 0
    host = values.get("runtime.host")
    _, of_host = places.get(host._GetMoId(), (None, {})) if host is not None else (None, {})
    standard = networks.standard(of_host)
    above_host = list(_upwards(host, places))
    above = list(_upwards(values.get("parent"), places))
    return VM(
        id=moid,
        name=unescape(values.get("name") or moid),
        uuid=(values.get("config.uuid") or "").lower(),
        instance_uuid=(values.get("config.instanceUuid") or "").lower(),
        power_state=STATES[values.get("runtime.powerState") or "poweredOff"],
        template=bool(values.get("config.template")),
        firmware="efi" if values.get("config.firmware") == "efi" else "bios",
        secure_boot=bool(boot and boot.efiSecureBootEnabled),
        tpm=devices.has_tpm(all_devices),
        encrypted=bool(values.get("config.keyId")),
        fault_tolerance=values.get("runtime.faultToleranceState") not in _NO_FT,
        cpus=cpus,
        cores_per_socket=(hardware.numCoresPerSocket if hardware else None) or 1,
        cpu_hot_add=bool(values.get("config.cpuHotAddEnabled")),
        cpu_shares=_shares(values.get("config.cpuAllocation")),
        cpu_limit_mhz=devices.limit_of(values.get("config.cpuAllocation")),
        cpu_reservation_mhz=devices.reservation_of(values.get("config.cpuAllocation")),
        memory_bytes=memory,
        memory_limit_bytes=None if memory_limit is None else memory_limit * MIB,
        memory_hot_add=bool(values.get("config.memoryHotAddEnabled")),
        memory_reservation_bytes=reserved or devices.reservation_of(values.get("config.memoryAllocation")) * MIB,
        numa_nodes=nodes_of(cpus, lambda key: extra.get(key, ""), _cores_per_node(values.get("config.numaInfo"))),
        cdroms=devices.cdroms(all_devices),
        guest_id=values.get("config.guestId") or "",
        guest_name=values.get("config.guestFullName") or "",
        hostname=values.get("guest.hostName") or "",
        routes=devices.routes(values.get("guest.ipStack") or ()),
        dns=devices.dns(values.get("guest.ipStack") or ()),
        tools=_tools(values),
        annotation=values.get("config.annotation") or "",
        snapshots=tuple(_snapshots(values["snapshot"].rootSnapshotList if values.get("snapshot") else [])),
        change_tracking=bool(values.get("config.changeTrackingEnabled")),
        passthrough=devices.passthrough(all_devices),
        sound=devices.has_sound(all_devices),
        left_behind=devices.left_behind(all_devices),
        disks=devices.disks(all_devices, _boot_keys(boot)),
        nics=devices.nics(all_devices, extra, values.get("guest.net") or (), known, standard),
        host=_place(above_host, vim.HostSystem),
        host_mhz=of_host.get("summary.hardware.cpuMhz") or 0,
        cluster=_place(above_host, vim.ClusterComputeResource),
        datacenter=_place(above or above_host, vim.Datacenter),
        folder="/".join(reversed(_folders(above))),
        concerns=tuple(_concerns(values)),
    )


def _concerns(values: dict[str, Any]) -> Iterator[Concern]:
    state = values.get("runtime.connectionState") or "connected"
    if state != "connected":
        yield Concern(
            code="vm_is_not_connected",
            severity="blocker",
            cause=f"vSphere shows {unescape(values.get('name') or 'the VM')} as {state}: what it says of the VM is old,"
            " and it can do nothing with it",
            remedy=_RECONNECT.get(state, "Look at its events in vSphere."),
        )


def _tools(values: dict[str, Any]) -> Any:
    if values.get("guest.toolsRunningStatus") == "guestToolsRunning":
        return "running"
    return "not_installed" if values.get("guest.toolsStatus") in (None, "toolsNotInstalled") else "not_running"


def _shares(allocation: Any) -> int | None:
    """What differs from the normal share."""
    shares = allocation.shares if allocation else None
    return shares.shares if shares and shares.level in ("low", "high", "custom") else None


def _cores_per_node(numa: Any) -> int:
    """0 where vSphere chooses."""
    return 0 if numa is None or numa.autoCoresPerNumaNode else numa.coresPerNumaNode or 0


def _boot_keys(boot: Any) -> list[int]:
    order = boot.bootOrder if boot else []
    return [entry.deviceKey for entry in order if isinstance(entry, vim.vm.BootOptions.BootableDiskDevice)]


def _snapshots(trees: Any) -> Iterator[str]:
    for tree in trees:
        yield unescape(tree.name)
        yield from _snapshots(tree.childSnapshotList)


def _upwards(ref: Any, places: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """(object, name) of an object and of all above it; the root folder is in no view and ends the walk."""
    while ref is not None and ref._GetMoId() in places:
        found, values = places[ref._GetMoId()]
        yield found, unescape(values.get("name") or ref._GetMoId())
        ref = values.get("parent")


def _place(above: list[tuple[Any, str]], kind: type[Any]) -> str:
    return next((name for ref, name in above if isinstance(ref, kind)), "")


def _folders(above: list[tuple[Any, str]]) -> list[str]:
    """The folders from the VM up to its datacenter, without the datacenter's own hidden one ("vm")."""
    names: list[str] = []
    for ref, name in above:
        if isinstance(ref, vim.Datacenter):
            return names[:-1]
        names.append(name)
    return names
