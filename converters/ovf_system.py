"""One VirtualSystem of an OVF descriptor, in our words: its hardware items become disks and cards of a VM."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element

from app.domain.disk_order import family, in_order
from app.domain.models import VM, Concern, Disk, Nic, PowerState
from converters.ovf_guests import guest_id
from converters.ovf_virtualbox import Extras, read_extras
from converters.ovf_xml import VMW, attribute, child, children, fields, local, refuse, settings, text, unit, whole
from converters.package_names import unsupported

FIRST_DISK, FIRST_NIC = 2000, 4000  # the keys of disks and cards, as vSphere counts them

_CPU, _MEMORY, _IDE, _SCSI, _NIC, _FLOPPY, _CD, _DVD, _DISK, _SATA, _SERIAL, _PARALLEL, _LOGICAL_DISK, _SOUND = (
    "3", "4", "5", "6", "10", "14", "15", "16", "17", "20", "21", "22", "31", "35",
)  # fmt: skip
_ITEMS = ("Item", "StorageItem", "EthernetPortItem")
_SCSI_KINDS = {"virtualscsi": "pvscsi", "lsilogicsas": "lsisas", "buslogic": "buslogic", "lsilogic": "lsilogic"}
_ADAPTERS = ("vmxnet3", "vmxnet2", "vmxnet", "e1000e", "e1000", "pcnet32")
_HOST_DISK = re.compile(r"(?:ovf:|disk:)?/+disk/(.+)")
_MAC = re.compile(r"[0-9a-f]{12}")
MAX_NAME = 500  # characters
MAX_CPUS = 4096
MAX_MEMORY = 64 << 40


class DiskEntry(NamedTuple):
    """A disk of the package: the file it is in ("": it is empty), and its capacity in bytes."""

    file: str
    capacity: int


@dataclass(frozen=True)
class System:
    """A VM of the package. `files`: the file of each disk, by the disk's key; an empty disk has none."""

    vm: VM
    files: Mapping[int, str]


class _Controller(NamedTuple):
    kind: str
    bus: int


def read_system(element: Element, disks: Mapping[str, DiskEntry], configuration: str) -> System:
    """`configuration` is the deployment option to take. Raises as ovf.parse does."""
    name = attribute(element, "id")
    hardware = child(element, "VirtualHardwareSection")
    if not name or len(name) > MAX_NAME:
        raise refuse("a VM without an id, or with an absurd one")
    if hardware is None:
        raise refuse(f"the VM {name[:80]!r} has no hardware")
    items = [fields(item) for item in _items(hardware, configuration)]
    said = settings(hardware)
    extras = read_extras(element)
    found = list(_disks(items, disks))
    boot = [disk.key for first in _boot_order(element) for disk, instance, _ in found if instance == first]
    nics = _nics(hardware, configuration, extras)
    system = child(element, "OperatingSystemSection")
    efi = said.get("firmware", "").lower() == "efi" or extras.efi
    firmware: Literal["bios", "efi"] = "efi" if efi else "bios"
    cpus, memory = _cpus(items), _memory(items, name)
    vm = VM(
        id=name,
        name=text(element, "Name")[:MAX_NAME] or name,
        uuid=extras.uuid,
        power_state=PowerState.OFF,
        firmware=firmware,
        secure_boot=efi and _true(said.get("bootOptions.efiSecureBootEnabled", "")),
        tpm=any(item.get("ResourceSubType", "").lower() == "vmware.vtpm" for item in items),
        cpus=cpus,
        cores_per_socket=_cores(hardware),
        cpu_hot_add=_true(said.get("cpuHotAddEnabled", "")),
        memory_bytes=memory,
        memory_hot_add=_true(said.get("memoryHotAddEnabled", "")),
        guest_id=guest_id(system, extras.os_type),
        guest_name=text(system, "Description"),
        annotation=text(child(element, "AnnotationSection"), "Annotation"),
        sound=any(_is_sound(item) for item in items),
        left_behind=tuple(_left_behind(items, said)),
        disks=in_order((disk for disk, _, _ in found), boot),
        nics=nics,
        concerns=tuple(_concerns(element, items, nics, configuration)),
    )
    return System(vm, {disk.key: file for disk, _, file in found if file})


def _true(text: str) -> bool:
    return text.lower() == "true"


def _items(hardware: Element, configuration: str) -> Iterator[Element]:
    """What a deployment takes of the hardware: no bounds of values, and of the options the one."""
    for item in children(hardware, *_ITEMS):
        wanted = attribute(item, "configuration").split()
        if not attribute(item, "bound") and (not wanted or configuration in wanted):
            yield item


def _cpus(items: Sequence[Mapping[str, str]]) -> int:
    cpus = _quantity(items, _CPU) or 1
    if cpus > MAX_CPUS:
        raise refuse(f"{cpus} CPUs")
    return cpus


def _memory(items: Sequence[Mapping[str, str]], name: str) -> int:
    units = [unit(item.get("AllocationUnits", "")) for item in items if item.get("ResourceType") == _MEMORY]
    memory = _quantity(items, _MEMORY) * units[-1] if units else 0
    if not 0 < memory <= MAX_MEMORY:
        raise refuse(f"the VM {name[:80]!r} has {memory} bytes of memory")
    return memory


def _quantity(items: Sequence[Mapping[str, str]], kind: str) -> int:
    """Of several items, one for the chosen deployment option comes behind the plain one."""
    found = [item for item in items if item.get("ResourceType") == kind]
    return whole(found[-1].get("VirtualQuantity", ""), "an amount of CPUs or memory") if found else 0


def _cores(hardware: Element) -> int:
    for item in children(hardware, *_ITEMS):
        for entry in children(item, "CoresPerSocket"):
            if entry.tag == f"{{{VMW}}}CoresPerSocket":
                return max(1, min(MAX_CPUS, whole((entry.text or "").strip(), "the cores of a socket")))
    return 1


def _controllers(items: Sequence[Mapping[str, str]]) -> dict[str, _Controller]:
    found: dict[str, _Controller] = {}
    for item in items:
        kind = _controller_kind(item.get("ResourceType", ""), item.get("ResourceSubType", "").lower())
        if not kind:
            continue
        instance, address = item.get("InstanceID", ""), item.get("Address", "")
        if not instance or instance in found:
            raise refuse(f"two controllers of the id {instance[:40]!r}")
        same = sum(family(controller.kind) == family(kind) for controller in found.values())
        found[instance] = _Controller(kind, whole(address, "a controller's address") if address else same)
    return found


def _controller_kind(resource: str, subtype: str) -> str:
    if resource == _IDE:
        return "ide"
    if resource == _SCSI or (resource == _SATA and subtype.startswith("lsilogic")):
        return next((ours for theirs, ours in _SCSI_KINDS.items() if subtype.startswith(theirs)), "lsilogic")
    if resource == _SATA:
        return "nvme" if "nvme" in subtype else "ahci" if "ahci" in subtype or not subtype else "unknown"
    return ""


def _disks(items: Sequence[Mapping[str, str]], known: Mapping[str, DiskEntry]) -> Iterator[tuple[Disk, str, str]]:
    """(disk, its item's id, its file) in the descriptor's order."""
    controllers = _controllers(items)
    used: set[str] = set()
    for item in items:
        if item.get("ResourceType") not in (_DISK, _LOGICAL_DISK):
            continue
        label, place = item.get("ElementName") or item.get("Caption") or "disk", item.get("HostResource", "")
        match = _HOST_DISK.fullmatch(place)
        if match is None:
            raise unsupported(
                f"{label[:80]!r} of the package is no disk of it, but {place[:80]!r}",
                "Export the VM again with its disks in the package.",
            )
        if match[1] not in known or match[1] in used:
            raise refuse(f"{label[:80]!r} is the disk {match[1][:80]!r}, which is not there or is taken")
        used.add(match[1])
        entry, unit_number = known[match[1]], item.get("AddressOnParent", "")
        controller = controllers.get(item.get("Parent", ""), _Controller("unknown", 0))
        disk = Disk(
            key=FIRST_DISK + len(used) - 1,
            label=label,
            capacity_bytes=entry.capacity,
            controller=controller.kind,
            bus=controller.bus,
            unit=whole(unit_number, "a disk's place") if unit_number else 0,
            path=entry.file,
            backing="sparse",
            thin=True,
        )
        yield disk, item.get("InstanceID", ""), entry.file


def _boot_order(element: Element) -> list[str]:
    return [
        section.get(f"{{{VMW}}}instanceId", "")
        for section in children(element, "BootOrderSection")
        if section.get(f"{{{VMW}}}type", "") == "disk"
    ]


def _nics(hardware: Element, configuration: str, extras: Extras) -> tuple[Nic, ...]:
    cards = [
        (fields(item), settings(item))
        for item in _items(hardware, configuration)
        if fields(item).get("ResourceType") == _NIC or local(item) == "EthernetPortItem"
    ]
    spare = extras.macs if len(extras.macs) == len(cards) else [""] * len(cards)
    found = []
    for index, (item, said) in enumerate(cards):
        subtype = (item.get("ResourceSubType", "").lower().split() or [""])[0]
        slot = said.get("slotInfo.pciSlotNumber", "")
        card = Nic(
            key=FIRST_NIC + index,
            label=item.get("ElementName") or item.get("Caption") or f"Network adapter {index + 1}",
            mac=mac(item.get("Address", "")) or mac(spare[index]),
            network=item.get("Connection", ""),
            adapter=subtype if subtype in _ADAPTERS else "unknown",
            slot=int(slot) if slot.isascii() and slot.isdecimal() and len(slot) < 6 else None,
            connected=item.get("AutomaticAllocation", "").lower() != "false",
        )
        found.append(card)
    return tuple(found)


def mac(value: str) -> str:
    """In lower case with colons; "" for what is no address of one card."""
    digits = re.sub(r"[:.-]", "", value.lower())
    if not _MAC.fullmatch(digits) or int(digits[:2], 16) & 1 or not int(digits, 16):
        return ""
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _is_sound(item: Mapping[str, str]) -> bool:
    return item.get("ResourceType") == _SOUND or "soundcard" in item.get("ResourceSubType", "").lower()


def _left_behind(items: Sequence[Mapping[str, str]], said: Mapping[str, str]) -> Iterator[str]:
    """Names of devices that a libvirt guest does not get."""
    for item in items:
        if item.get("ResourceType") in (_FLOPPY, _SERIAL, _PARALLEL):
            yield item.get("ElementName") or item.get("Caption") or "port"
    if _true(said.get("videoCard.enable3DSupport", "")):
        yield "3D graphics"


def _concerns(
    element: Element, items: Sequence[Mapping[str, str]], nics: Sequence[Nic], configuration: str
) -> Iterator[Concern]:
    if without := [nic.label for nic in nics if not nic.mac]:
        yield Concern(
            code="mac_not_in_package",
            severity="warning",
            cause=f"the package has no MAC for {', '.join(without)}: a new one is made",
            remedy="Export it again with them (ovftool --exportFlags=mac) if the guest or a DHCP server knows them.",
        )
    media = [item for item in items if item.get("ResourceType") in (_FLOPPY, _CD, _DVD)]
    if any("/file/" in item.get("HostResource", "") for item in media):
        yield Concern(
            code="media_left_behind",
            severity="info",
            cause="the package has an image of a CD or floppy: it is not moved",
            remedy="Attach it on the target if the guest needs it.",
        )
    asked = sum(1 for section in children(element, "ProductSection") for _ in children(section, "Property"))
    if asked:
        yield Concern(
            code="properties_not_passed",
            severity="warning",
            cause=f"the package asks for {asked} settings at its deployment (OVF properties): none is passed on",
            remedy="An appliance that was never deployed may wait for them: deploy it on vSphere first, and move that.",
        )
    if configuration:
        yield Concern(
            code="deployment_option_chosen",
            severity="info",
            cause=f"the package has several sizes: {configuration!r} was taken",
            remedy="Change CPUs and memory on the target if another fits better.",
        )
