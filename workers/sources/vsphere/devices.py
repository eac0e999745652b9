"""A VM's virtual devices, as vSphere describes them, in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pyVmomi import vim

from app.domain.disk_order import in_order
from app.domain.models import Disk, Nic
from app.domain.networks import Bandwidth
from workers.sources.vsphere.networks import Network

_device = vim.vm.device
_disk = _device.VirtualDisk

_CONTROLLERS: tuple[tuple[type[Any], str], ...] = (
    (_device.ParaVirtualSCSIController, "pvscsi"),
    (_device.VirtualLsiLogicController, "lsilogic"),
    (_device.VirtualLsiLogicSASController, "lsisas"),
    (_device.VirtualBusLogicController, "buslogic"),
    (_device.VirtualNVMEController, "nvme"),
    (_device.VirtualSATAController, "ahci"),
    (_device.VirtualIDEController, "ide"),
)
_OF_THE_HOST = (
    _device.VirtualPCIPassthrough,
    _device.VirtualSriovEthernetCard,
    _device.VirtualSCSIPassthrough,
    _device.VirtualNVDIMM,
)
_LEFT_BEHIND = (
    _device.VirtualFloppy,
    _device.VirtualSerialPort,
    _device.VirtualParallelPort,
    _device.VirtualUSB,
    _device.VirtualWDT,
    _device.VirtualPrecisionClock,
)
MEGABIT_BYTES = 125_000
_ADAPTERS = ("vmxnet3", "vmxnet2", "vmxnet", "e1000e", "e1000", "pcnet32", "sriovethernetcard")


def disks(devices: Sequence[Any], boot_keys: Sequence[int] = ()) -> tuple[Disk, ...]:
    """The disks as firmware and guest count them: an explicit boot order first, then by family, bus and unit."""
    by_key = {device.key: device for device in devices}
    return in_order((_as_disk(d, by_key.get(d.controllerKey)) for d in devices if isinstance(d, _disk)), boot_keys)


def identity(disk: Disk, version: str) -> str:
    """What a copy's journal is tied to: another file, size, change id or version of the VM may be another content.

    The change id is that of the last snapshot or start; the VM's changeVersion changes with every start, too.
    """
    return f"{disk.path} {disk.capacity_bytes} {disk.change_id} {version}"


def nics(
    devices: Sequence[Any],
    extra: Mapping[str, str],
    guest_nics: Sequence[Any],
    networks: Mapping[str, Network],
    standard: Mapping[str, Network] = MappingProxyType({}),
) -> tuple[Nic, ...]:
    """The network cards by key.

    `networks`: by a network's id or a portgroup's key. `standard`: port groups of the VM's host, by name.
    """
    cards = sorted((d for d in devices if isinstance(d, _device.VirtualEthernetCard)), key=lambda card: int(card.key))
    addresses: dict[str, list[Any]] = {}
    for seen in guest_nics:
        if seen.macAddress and seen.ipConfig:
            addresses.setdefault(seen.macAddress.lower(), []).extend(seen.ipConfig.ipAddress)
    return tuple(_as_nic(card, extra, addresses, _network(card.backing, networks, standard)) for card in cards)


def routes(stacks: Sequence[Any]) -> tuple[str, ...]:
    """The guest's IPv4 routes through a gateway, as Tools reports them."""
    found = set()
    for stack in stacks:
        for route in stack.ipRouteConfig.ipRoute if stack.ipRouteConfig else ():
            gateway = route.gateway.ipAddress
            if gateway and ":" not in gateway:
                network = "default" if route.prefixLength == 0 else f"{route.network}/{route.prefixLength}"
                found.add(f"{network} via {gateway}")
    return tuple(sorted(found))


def dns(stacks: Sequence[Any]) -> tuple[str, ...]:
    """The guest's name servers, as Tools reports them."""
    return tuple(sorted({address for stack in stacks if stack.dnsConfig for address in stack.dnsConfig.ipAddress}))


def passthrough(devices: Sequence[Any]) -> tuple[str, ...]:
    """Labels of devices that are the host's own: PCI, vGPU, SR-IOV, SCSI, persistent memory."""
    return tuple(_label(d) for d in devices if isinstance(d, _OF_THE_HOST))


def left_behind(devices: Sequence[Any]) -> tuple[str, ...]:
    """Labels of devices that a libvirt guest does not get."""
    labels = [_label(d) for d in devices if isinstance(d, _LEFT_BEHIND)]
    has_3d = any(isinstance(d, _device.VirtualVideoCard) and d.enable3DSupport for d in devices)
    return (*labels, "3D graphics") if has_3d else tuple(labels)


def has_sound(devices: Sequence[Any]) -> bool:
    return any(isinstance(d, _device.VirtualSoundCard) for d in devices)


def cdroms(devices: Sequence[Any]) -> int:
    return sum(isinstance(d, _device.VirtualCdrom) for d in devices)


def limit_of(allocation: Any) -> int | None:
    """The limit of an allocation; vSphere says -1, or nothing, for none."""
    limit = allocation.limit if allocation else None
    return limit if limit is not None and limit > 0 else None


def reservation_of(allocation: Any) -> int:
    return max(0, allocation.reservation or 0) if allocation else 0


def has_tpm(devices: Sequence[Any]) -> bool:
    return any(isinstance(d, _device.VirtualTPM) for d in devices)


def _as_disk(device: Any, controller: Any) -> Disk:
    backing = device.backing
    kind = next((name for type_, name in _CONTROLLERS if isinstance(controller, type_)), "unknown")
    capacity = device.capacityInBytes or (device.capacityInKB or 0) * 1024
    return Disk(
        key=device.key,
        label=_label(device),
        capacity_bytes=capacity,
        controller=kind,
        bus=controller.busNumber if controller else 0,
        unit=device.unitNumber or 0,
        path=getattr(backing, "fileName", None) or "",
        mode=getattr(backing, "diskMode", None) or "persistent",
        backing=_backing(backing),
        sharing=_sharing(backing, controller),
        thin=getattr(backing, "thinProvisioned", None),
        encrypted=bool(getattr(backing, "keyId", None)),
        iops_limit=limit_of(device.storageIOAllocation),
        change_id=getattr(backing, "changeId", None) or "",
    )


def _backing(backing: Any) -> str:
    match backing:
        case _disk.FlatVer2BackingInfo() | _disk.FlatVer1BackingInfo():
            return "flat"
        case _disk.SparseVer2BackingInfo() | _disk.SparseVer1BackingInfo() | _disk.SeSparseBackingInfo():
            return "sparse"
        case _disk.RawDiskMappingVer1BackingInfo() if backing.compatibilityMode == "virtualMode":
            return "rdm_virtual"
        case _disk.RawDiskMappingVer1BackingInfo() | _disk.RawDiskVer2BackingInfo():
            return "rdm_physical"
    return "other"


def _sharing(backing: Any, controller: Any) -> str:
    if getattr(backing, "sharing", None) == "sharingMultiWriter":
        return "multi_writer"
    if getattr(controller, "sharedBus", None) in ("physicalSharing", "virtualSharing"):
        return "bus"
    return "none"


def _as_nic(card: Any, extra: Mapping[str, str], addresses: Mapping[str, list[Any]], network: Network) -> Nic:
    name = type(card).__name__.rpartition(".")[2].removeprefix("Virtual").lower()
    mac = (card.macAddress or "").lower()
    cidrs = {f"{ip.ipAddress}/{ip.prefixLength}": ip.origin for ip in addresses.get(mac, ())}
    return Nic(
        key=card.key,
        label=_label(card),
        mac=mac,
        network=network.name,
        adapter=name if name in _ADAPTERS else "unknown",
        slot=_slot(card, extra),
        connected=card.connectable is None or bool(card.connectable.connected or card.connectable.startConnected),
        vlan=network.vlan,
        mtu=network.mtu,
        sends=_limit(card) or network.sends,
        receives=network.receives,
        addresses=tuple(cidrs),
        static=tuple(cidr for cidr, origin in cidrs.items() if origin == "manual"),
    )


def _slot(card: Any, extra: Mapping[str, str]) -> int | None:
    """VMware's pciSlotNumber: the .vmx's, else the device's own; ethernetN is the card with key 4000 + N."""
    written = extra.get(f"ethernet{card.key - 4000}.pciSlotNumber", "")
    if written.isdecimal():
        return int(written)
    own = getattr(card.slotInfo, "pciSlotNumber", None)
    return own if own is not None and own >= 0 else None


def _limit(card: Any) -> Bandwidth | None:
    """A limit of the card's own, which Network I/O Control knows in Mbit/s."""
    megabits = limit_of(card.resourceAllocation)
    return Bandwidth(average=megabits * MEGABIT_BYTES) if megabits else None


def _network(backing: Any, networks: Mapping[str, Network], standard: Mapping[str, Network]) -> Network:
    card = _device.VirtualEthernetCard
    match backing:
        case card.DistributedVirtualPortBackingInfo():
            key = backing.port.portgroupKey or ""
        case card.OpaqueNetworkBackingInfo():
            key = backing.opaqueNetworkId
        case card.NetworkBackingInfo():
            named = networks.get(backing.network._GetMoId()) if backing.network else None
            name = named.name if named else backing.deviceName or ""
            return standard.get(name) or Network(name)
        case _:
            return Network("")
    return networks.get(key) or Network(key)


def _label(device: Any) -> str:
    return (device.deviceInfo.label if device.deviceInfo else "") or f"device {device.key}"
