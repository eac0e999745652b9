"""A VM as its .vmx file describes it, in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.domain.disk_order import in_order
from app.domain.errors import VmferryError
from app.domain.models import VM, Concern, Disk, Nic, PowerState
from app.domain.vnuma import nodes_of
from converters.vmx_config import Config, refuse

MIB = 1 << 20
MAX_NICS = 10
_MAX_SNAPSHOTS = 1000

_NODE = re.compile(r"(scsi|sata|nvme|ide)(\d{1,2}):(\d{1,3})")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_CONTROLLERS = {
    "pvscsi": "pvscsi",
    "lsilogic": "lsilogic",
    "lsisas1068": "lsisas",
    "buslogic": "buslogic",
    "ahci": "ahci",
}
_PORTS = {"floppy": "Floppy drive", "serial": "Serial port", "parallel": "Parallel port", "usb:": "USB device"}
_LEFT_BEHIND = re.compile(rf"({'|'.join(_PORTS)})(\d{{1,2}})\.present")
_USUAL = {"scsi": "lsilogic", "sata": "ahci", "nvme": "nvme", "ide": "ide"}
_ADAPTERS = {"vmxnet3", "vmxnet2", "vmxnet", "e1000e", "e1000"}
_KEYS = {"scsi": (2000, 64), "ide": (3000, 2), "sata": (16000, 30), "nvme": (31000, 64)}  # first key, units of a bus
_BUSES = {"scsi": 4, "ide": 2, "sata": 4, "nvme": 4}


@dataclass(frozen=True)
class DiskFacts:
    """What a disk's own files say."""

    capacity: int
    backing: Literal["flat", "sparse"]


class Node(NamedTuple):
    """Where a device hangs: scsi0:1."""

    family: str
    bus: int
    unit: int

    def __str__(self) -> str:
        return f"{self.controller}:{self.unit}"

    @property
    def controller(self) -> str:
        return f"{self.family}{self.bus}"

    @property
    def key(self) -> int:
        """As vSphere counts, as far as it leaves each its own. Raises UnsafeImage where there can be no such node."""
        first, units = _KEYS[self.family]
        if self.bus >= _BUSES[self.family] or self.unit >= units:
            raise refuse(f"there is no {self}")
        return first + units * self.bus + self.unit


Look = Callable[[str], DiskFacts]  # at a disk's file, by the name that the .vmx gives it; raises VmferryError


def read_vm(config: Config, look: Look, *, vm_id: str, uuid: str, snapshots: Config | None = None) -> VM:
    """Raises UnsafeImage for a configuration that says what none can. Whether the VM runs is not in it.

    `uuid`: for a VM that was never started and has none. A disk that cannot be read is no error here, but a blocker
    among the VM's concerns.
    """
    found = list(_disks(config, look))
    disks = in_order((disk for disk, _ in found), _boot_keys(config))
    bios_uuid = _uuid(config.text("uuid.bios")) or uuid
    encrypted = any(key.startswith("encryption.") for key in config)
    memory = config.number("memsize", 0, 4, 64 << 20) * MIB
    cpus = config.number("numvcpus", 1, 1, 4096)
    memory_limit, reserved = _amount(config.text("sched.mem.max")), _amount(config.text("sched.mem.min")) or 0
    if not memory and not encrypted:  # most of an encrypted one cannot be read
        raise refuse("it does not say how much memory the VM has")
    return VM(
        id=vm_id,
        name=config.text("displayName") or vm_id.rpartition("/")[2].rpartition(".")[0],
        uuid=bios_uuid,
        instance_uuid=_uuid(config.text("vc.uuid")),
        power_state=PowerState.SUSPENDED if config.text("checkpoint.vmState") else PowerState.OFF,
        firmware="efi" if config.text("firmware").lower() == "efi" else "bios",
        secure_boot=config.flag("uefi.secureBoot.enabled"),
        tpm=config.flag("vtpm.present"),
        encrypted=encrypted,
        cpus=cpus,
        cores_per_socket=config.number("cpuid.coresPerSocket", 1, 1, 4096),
        cpu_hot_add=config.flag("vcpu.hotadd"),
        cpu_shares=_shares(config.text("sched.cpu.shares"), cpus),
        cpu_reservation_mhz=_amount(config.text("sched.cpu.min")) or 0,
        memory_bytes=memory,
        memory_limit_bytes=memory_limit * MIB if memory_limit else None,
        memory_hot_add=config.flag("mem.hotadd"),
        memory_reservation_bytes=memory if config.flag("sched.mem.pin") else reserved * MIB,
        numa_nodes=nodes_of(cpus, config.text),
        guest_id=_guest_id(config.text("guestOS")),
        annotation=config.text("annotation"),
        snapshots=tuple(_snapshots(snapshots)) if snapshots else (),
        passthrough=tuple(_passthrough(config)),
        sound=config.flag("sound.present"),
        left_behind=tuple(_left_behind(config)),
        disks=tuple(
            disk.model_copy(update={"label": f"Hard disk {number}"}) for number, disk in enumerate(disks, start=1)
        ),
        nics=tuple(_nics(config, bios_uuid)),
        concerns=tuple(concern for _, concern in found if concern),
    )


def _uuid(text: str) -> str:
    """56 4d … -… 1f as 564d…-…-…: empty for what is none."""
    digits = re.sub(r"[\s-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        return ""
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _guest_id(name: str) -> str:
    """debian12-64 as debian12_64Guest, ubuntu-64 as ubuntu64Guest: vSphere's ids, but for a few odd ones."""
    base = name.removesuffix("-64")
    if base == name:
        return f"{name}Guest" if name else ""
    return f"{base}{'_' if base[-1:].isdigit() else ''}64Guest"


def _amount(text: str) -> int | None:
    """None for "unlimited", -1 and what else is no amount."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _shares(text: str, cpus: int) -> int | None:
    """Of all CPUs together; None for the normal ones."""
    level = {"low": 500, "high": 2000}.get(text.lower())
    return _amount(text) if level is None else level * cpus


def _disks(config: Config, look: Look) -> Iterator[tuple[Disk, Concern | None]]:
    for key in config:
        match = _NODE.fullmatch(key.removesuffix(".present"))
        if match is None or not config.flag(key):
            continue
        node = Node(match[1], int(match[2]), int(match[3]))
        if node.family != "ide" and not config.flag(f"{node.controller}.present"):
            continue  # VMware does not see what hangs on a controller that is not there
        kind = config.text(f"{node}.deviceType").lower()
        if "cdrom" not in kind and "passthru" not in kind:
            yield _disk(config, look, node)


def _disk(config: Config, look: Look, node: Node) -> tuple[Disk, Concern | None]:
    name = config.text(f"{node}.fileName")
    facts, concern = DiskFacts(0, "flat"), None
    try:
        facts = look(name)
    except VmferryError as error:
        concern = Concern(
            code="disk_not_readable",
            severity="blocker",
            cause=f"the disk {name!r} at {node} cannot be read: {error.message}",
            remedy=error.remedy,
        )
    kind = config.text(f"{node.controller}.virtualDev").lower()
    disk = Disk(
        key=node.key,
        label=str(node),
        capacity_bytes=facts.capacity,
        controller=_CONTROLLERS.get(kind, _USUAL[node.family]),
        bus=node.bus,
        unit=node.unit,
        path=name,
        backing=facts.backing,
        sharing=_sharing(config, node),
    )
    return disk, concern


def _sharing(config: Config, node: Node) -> str:
    if config.text(f"{node}.sharing").lower() in ("multi-writer", "sharingmultiwriter"):
        return "multi_writer"
    return "bus" if config.text(f"{node.controller}.sharedBus").lower() in ("physical", "virtual") else "none"


def _boot_keys(config: Config) -> list[int]:
    nodes = _NODE.findall(config.text("bios.hddOrder").lower())
    return [Node(family, int(bus), int(unit)).key for family, bus, unit in nodes]


def _nics(config: Config, uuid: str) -> Iterator[Nic]:
    for number in range(MAX_NICS):
        card = f"ethernet{number}"
        if not config.flag(f"{card}.present"):
            continue
        adapter = config.text(f"{card}.virtualDev").lower()
        slot = config.text(f"{card}.pciSlotNumber")
        yield Nic(
            key=4000 + number,
            label=f"Network adapter {number + 1}",
            mac=_mac(config, card, number, uuid),
            network=_network(config, card),
            adapter=adapter if adapter in _ADAPTERS else "pcnet32" if adapter == "vlance" else "unknown",
            slot=int(slot) if slot.isdecimal() and len(slot) < 10 else None,
            connected=config.flag(f"{card}.startConnected", default=True),
        )


def _mac(config: Config, card: str, number: int, uuid: str) -> str:
    """The one that is written; else the one that VMware makes of the BIOS UUID when the VM is first started."""
    given, made = config.text(f"{card}.address"), config.text(f"{card}.generatedAddress")
    static = config.text(f"{card}.addressType").lower() == "static"
    mac = (given or made if static else made or given).lower().replace("-", ":")
    if not mac:
        offset = config.number(f"{card}.generatedAddressOffset", 10 * number, 0, 1000)
        tail = (int(uuid.replace("-", "")[-6:], 16) + offset) & 0xFFFFFF
        return f"00:0c:29:{tail >> 16:02x}:{tail >> 8 & 0xFF:02x}:{tail & 0xFF:02x}"
    if not _MAC.fullmatch(mac):
        raise refuse(f"the MAC {mac[:40]!r} of {card}")
    return mac


def _network(config: Config, card: str) -> str:
    """A port group of ESXi by its name; of Workstation the virtual network, or the kind of connection."""
    named = config.text(f"{card}.networkName") or config.text(f"{card}.dvs.portgroupId")
    kind = config.text(f"{card}.connectionType", "bridged").lower()
    return named or (config.text(f"{card}.vnet") if kind == "custom" else "") or kind


def _passthrough(config: Config) -> Iterator[str]:
    for key in config:
        if re.fullmatch(r"pcipassthru\d{1,2}\.present", key) and config.flag(key):
            yield f"PCI device {key[11:].partition('.')[0]}"
        elif key.endswith(".devicetype") and "passthru" in config.text(key).lower():
            yield f"device {key.removesuffix('.devicetype')}"


def _left_behind(config: Config) -> Iterator[str]:
    for key in config:
        if (match := _LEFT_BEHIND.fullmatch(key)) and config.flag(key):
            yield f"{_PORTS[match[1]]} {int(match[2]) + 1}"
    if config.flag("mks.enable3d"):
        yield "3D graphics"


def _snapshots(config: Config) -> Iterator[str]:
    for number in range(config.number("snapshot.numSnapshots", 0, 0, _MAX_SNAPSHOTS)):
        yield config.text(f"snapshot{number}.displayName", f"snapshot {number + 1}")
