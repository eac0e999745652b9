"""What the sources of files find, each with a package or a folder that raises it. Most of these VMs are off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.domain.models import SourceSpec
from tests import packages, vmx_folders
from tests.concerns.entry import OnFiles
from tests.packages import CPU, MEMORY, MIB, NIC, PVSCSI, disk_entry, disk_items, envelope, file_entry
from tests.vmx_folders import write_flat, write_vmx
from tests.web_server import WebServer

DISK = packages.disk("web-disk1.vmdk", bytes(MIB))
IMAGE = packages.item(HostResource="ovf:/file/file9", InstanceID=9, ResourceType=15)
NO_MAC = packages.item(
    AddressOnParent=8, Connection="VM Network", ElementName="Network adapter 2", InstanceID=12, ResourceType=10
)
PROPERTIES = '<ProductSection><Info/><Property ovf:key="ip"/><Property ovf:key="mask"/></ProductSection>'
SIZES = (
    '<DeploymentOptionSection><Info/><Configuration ovf:id="small"/>'
    '<Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>'
)


def ova(
    hardware: str = "",
    *,
    more: str = "",
    sections: str = "",
    size: int = 0,
    signed: bool = False,
    with_manifest: bool = True,
) -> Callable[[Path], object]:
    """An OVA of one VM with a disk and a card, and what makes it raise something."""

    @contextmanager
    def place(folder: Path) -> Iterator[SourceSpec]:
        file = folder / "web.ova"
        file.write_bytes(packages.tar(_members(hardware, more, sections, size, signed, with_manifest)))
        yield packages.spec(file)

    return place


def _members(
    hardware: str, more: str, sections: str, size: int, signed: bool, with_manifest: bool
) -> Sequence[tuple[str, bytes]]:
    system = packages.system("web", CPU + MEMORY + PVSCSI + disk_items(1) + NIC + hardware, more=more)
    files = file_entry(1, DISK.file, size or len(DISK.vmdk)) + (file_entry(9, "cd.iso", 4) if hardware is IMAGE else "")
    text = ("web.ovf", envelope(files, disk_entry(1, DISK.capacity), sections + system))
    rest = [(DISK.file, DISK.vmdk), *([("cd.iso", b"data")] if hardware is IMAGE else [])]
    digests = [("web.mf", packages.manifest([text, *rest]))] if with_manifest else []
    return [text, *digests, *([("web.cert", b"SHA256(web.mf)= 00\n")] if signed else []), *rest]


@contextmanager
def over_http(folder: Path) -> Iterator[SourceSpec]:
    with WebServer(folder, tls=False) as server:
        server.files["/web.ova"] = packages.tar(packages.package([DISK]))
        yield packages.spec(server.url("/web.ova"))


@contextmanager
def vmx_with_a_bad_disk(folder: Path) -> Iterator[SourceSpec]:
    write_vmx(folder / "web.vmx", "web", {"scsi0:0": "web.vmdk"})
    yield vmx_folders.spec(folder)


@contextmanager
def vmx_in_use(folder: Path) -> Iterator[SourceSpec]:
    write_flat(folder, "web", bytes(MIB))
    vmx_folders.lock(write_vmx(folder / "web.vmx", "web", {"scsi0:0": "web.vmdk"}))
    yield vmx_folders.spec(folder)


ENTRIES = (
    OnFiles("manifest_missing", "an OVA or OVF without a manifest", ova(with_manifest=False)),
    OnFiles("certificate_ignored", "an OVA or OVF that is signed", ova(signed=True)),
    OnFiles("ovf_size_wrong", "a descriptor that is wrong about a file, which the manifest knows", ova(size=123456789)),
    OnFiles("mac_not_in_package", "a card without a MAC", ova(NO_MAC)),
    OnFiles("media_left_behind", "an OVA or OVF with the image of a CD", ova(IMAGE)),
    OnFiles("properties_not_passed", "an appliance that asks for settings", ova(more=PROPERTIES)),
    OnFiles("deployment_option_chosen", "an appliance in several sizes", ova(sections=SIZES)),
    OnFiles("package_over_http", "a package over plain http", over_http),
    OnFiles("disk_not_readable", "a .vmx whose disk is not there", vmx_with_a_bad_disk),
    OnFiles("vm_is_in_use", "a .vmx with VMware's lock beside it", vmx_in_use, also=("tools_not_running",)),
)
