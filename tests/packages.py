"""OVA archives and OVF folders as honest writers make them, for whoever reads or spoils them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from app.domain.models import SourceSpec
from tests.hostile.streams import SECTOR, Writer, pieces

STREAM_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
MIB = 1 << 20

Members = Sequence[tuple[str, bytes]]


class PackagedDisk(NamedTuple):
    """A disk's file, and the guest bytes that it stands for."""

    file: str
    vmdk: bytes
    capacity: int


def disk(file: str, raw: bytes) -> PackagedDisk:
    """As ESXi writes it."""
    return PackagedDisk(file, Writer(len(raw) // SECTOR, pieces(raw)).write(), len(raw))


def item(**fields: object) -> str:
    body = "".join(f"<rasd:{key}>{value}</rasd:{key}>" for key, value in fields.items())
    return f"<Item>{body}</Item>"


NIC = item(
    Address="00:50:56:00:00:01",
    AddressOnParent=7,
    AutomaticAllocation="true",
    Connection="VM Network",
    ElementName="Network adapter 1",
    InstanceID=11,
    ResourceSubType="VmxNet3",
    ResourceType=10,
).replace("</Item>", '<vmw:Config ovf:required="false" vmw:key="slotInfo.pciSlotNumber" vmw:value="192"/></Item>')
CPU = item(AllocationUnits="hertz * 10^6", InstanceID=1, ResourceType=3, VirtualQuantity=2)
MEMORY = item(AllocationUnits="byte * 2^20", InstanceID=2, ResourceType=4, VirtualQuantity=1024)
PVSCSI = item(Address=0, InstanceID=3, ResourceSubType="VirtualSCSI", ResourceType=6)


def disk_items(count: int, first: int = 0) -> str:
    return "".join(
        item(
            AddressOnParent=unit,
            ElementName=f"Hard disk {unit + 1}",
            HostResource=f"ovf:/disk/vmdisk{first + unit + 1}",
            InstanceID=20 + unit,
            Parent=3,
            ResourceType=17,
        )
        for unit in range(count)
    )


def system(name: str, hardware: str, *, key: str = "", more: str = "") -> str:
    shown = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'<VirtualSystem ovf:id="{key or "vm"}"><Info>A VM</Info><Name>{shown}</Name>'
        '<OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest"><Info>Its system</Info>'
        "<Description>Debian GNU/Linux 12 (64-bit)</Description></OperatingSystemSection>"
        f"<VirtualHardwareSection><Info>Hardware</Info>{hardware}</VirtualHardwareSection>{more}</VirtualSystem>"
    )


def envelope(files: str, disks: str, systems: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"'
        ' xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:rasd='
        '"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">'
        f"<References>{files}</References><DiskSection><Info>Disks</Info>{disks}</DiskSection>{systems}</Envelope>\n"
    ).encode()


def file_entry(number: int, name: str, size: int) -> str:
    return f'<File ovf:href="{name}" ovf:id="file{number}" ovf:size="{size}"/>'


def disk_entry(number: int, capacity: int, *, file: bool = True) -> str:
    reference = f'ovf:fileRef="file{number}" ' if file else ""
    return (
        f'<Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk{number}" '
        f'{reference}ovf:format="{STREAM_FORMAT}"/>'
    )


def descriptor(disks: Sequence[PackagedDisk], *, name: str = "web") -> bytes:
    """Of one VM with one card."""
    return envelope(
        "".join(file_entry(i, disk.file, len(disk.vmdk)) for i, disk in enumerate(disks, 1)),
        "".join(disk_entry(i, disk.capacity) for i, disk in enumerate(disks, 1)),
        system(name, CPU + MEMORY + PVSCSI + disk_items(len(disks)) + NIC),
    )


def manifest(members: Iterable[tuple[str, bytes]], algorithm: str = "SHA256") -> bytes:
    return "".join(
        f"{algorithm}({name})= {hashlib.new(algorithm, data).hexdigest()}\n" for name, data in members
    ).encode()


def package(
    disks: Sequence[PackagedDisk], *, name: str = "web", algorithm: str = "SHA256", manifest_last: bool = False
) -> list[tuple[str, bytes]]:
    """The files of a package in their order; no algorithm, no manifest."""
    text = ("web.ovf", descriptor(disks, name=name))
    rest = [(disk.file, disk.vmdk) for disk in disks]
    if not algorithm:
        return [text, *rest]
    digests = ("web.mf", manifest([text, *rest], algorithm))
    return [text, *rest, digests] if manifest_last else [text, digests, *rest]


def tar(members: Members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_folder(folder: Path, members: Members) -> Path:
    """An OVF folder; its descriptor's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in members:
        (folder / name).write_bytes(data)
    return folder / members[0][0]


def spec(place: Path | str, **fields: object) -> SourceSpec:
    return SourceSpec.model_validate({"id": "s", "name": "files", "kind": "ova", "host": str(place)} | fields)
