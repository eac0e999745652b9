"""Which disks are one flat file of their datastore, and which file that is."""

from __future__ import annotations

from typing import Any

from app.domain.errors import TransportRefused, UnsafeImage
from app.domain.models import Disk
from converters.vmdk import SECTOR, parse_descriptor
from workers.sources.vsphere.facts import Facts, datastore_type
from workers.sources.vsphere.session import Session

_NO_FILES = {"vsan", "vsand", "vvol", "pmem"}  # datastores that keep a disk's content in objects


def require_whole(facts: Facts, snapshot: str) -> None:
    """Raise TransportRefused for a VM whose files are not all of its disks."""
    if snapshot or facts.snapshots:
        raise TransportRefused("the VM has snapshots: the file of a disk holds only what changed since")


def require_file(session: Session, disk: Disk, datastore: Any) -> None:
    """Raise TransportRefused for a disk whose file is not its content."""
    if disk.backing != "flat":
        raise TransportRefused(f"{disk.label} is no flat file but {disk.backing}")
    if disk.encrypted:
        raise TransportRefused(f"{disk.label} is encrypted: its file is of no use without the host's key")
    if datastore is None:
        raise TransportRefused(f"{session.endpoint} does not say in which datastore {disk.label} is")
    kind = datastore_type(session, datastore)
    if kind in _NO_FILES:
        raise TransportRefused(f"{disk.label} is on a datastore of type {kind}, which keeps its content in no file")


def flat_extent(text: bytes, disk: Disk) -> tuple[str, str]:
    """From its descriptor: the plain name of the file that is all of a disk, and the id of its content, which changes
    with the first write after each start.

    Raises TransportRefused for any other kind of disk.
    """
    try:
        descriptor = parse_descriptor(text)
    except UnsafeImage as error:
        raise TransportRefused(f"the descriptor of {disk.label} is not that of a flat file: {error.message}") from error
    extent = descriptor.extents[0]
    if len(descriptor.extents) != 1 or extent.type not in ("VMFS", "FLAT") or extent.offset:
        raise TransportRefused(f"{disk.label} is not one flat file, but {descriptor.create_type}")
    if extent.sectors * SECTOR != disk.capacity_bytes:
        raise TransportRefused(f"the descriptor of {disk.label} says {extent.sectors} sectors, which is not its size")
    return extent.name, descriptor.content_id
