"""The files of a powered-off VM's disks over HTTPS, from the datastore's /folder, in ranges and over many connections.

A disk "[datastore] folder/name.vmdk" is a descriptor that names the file with the content. Both are asked for under
/folder/PATH?dcPath=DATACENTER&dsName=DATASTORE, where the server unescapes the two names once more than HTTP does: a
host's own listings say dcPath=ha%252ddatacenter. Should one not know the names quoted twice, they are quoted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog

from app.domain.errors import (
    LeaseExpired,
    SourceChanged,
    TransferInterrupted,
    TransportRefused,
    VmferryError,
)
from app.domain.models import Disk, PowerState, Transport
from app.ports.disks import Area
from app.ports.source import CancelCheck
from converters.vmdk import MAX_DESCRIPTOR
from workers.sources.vsphere import changes, devices, power
from workers.sources.vsphere.access import RangeAccess
from workers.sources.vsphere.facts import Facts, Place, datacenter_path, host_version, look, require_off
from workers.sources.vsphere.flat import flat_extent, require_file, require_whole
from workers.sources.vsphere.ranges import FileReader, NoRanges, RemoteFile
from workers.sources.vsphere.samples import zeros_between
from workers.sources.vsphere.session import Session

CONNECTIONS = 4
TRIAL_BYTES = 1024

log = structlog.get_logger(__name__)


@contextmanager
def read_files(
    session: Session, vm_id: str, snapshot: str, *, direct: bool, cancel: CancelCheck
) -> Iterator[FolderAccess]:
    """Look the files up, and try a real range of each. `direct`: the source is the host itself.

    Nothing keeps the VM off meanwhile: from its start on, no file of it is opened any more, and whoever copies asks
    whether it ran. Raises SourceChanged when it runs, TransportRefused where its files cannot be had or are not enough.
    """
    facts = look(session, vm_id)
    require_whole(facts, snapshot)
    require_off(facts, vm_id)
    access = FolderAccess(session, vm_id, facts)
    try:
        access.find(direct, cancel)
        yield access
    finally:
        access.end()


class FolderAccess(RangeAccess["FolderDisk", FileReader]):
    """DiskAccess over the files of a datastore."""

    def __init__(self, session: Session, vm_id: str, facts: Facts) -> None:
        super().__init__(Transport.HTTPS, CONNECTIONS)
        self._session = session
        self._vm_id = vm_id
        self._facts = facts

    def find(self, direct: bool, cancel: CancelCheck) -> None:
        datacenters: dict[Any, str] = {}
        for disk in self._facts.disks:
            cancel()
            datastore = self._facts.datastores[disk.key]
            require_file(self._session, disk, datastore)
            if datastore not in datacenters:
                datacenters[datastore] = datacenter_path(self._session, datastore)
            self.disks[disk.key] = self._open(disk, datacenters[datastore], direct)
        if not all(disk.file.ranged for disk in self.disks.values()):
            self.connections = 1

    def open_reader(self, file: RemoteFile) -> FileReader:
        return self.keep(FileReader(file, self.alive, self.forget))

    def allocated(self, disk: Disk) -> list[Area]:
        """What change tracking says, where it can be taken (see changes.py). Raises VmferryError where it cannot."""
        if host_version(self._session, self._facts.host) < changes.OLDEST_HOST:
            raise TransportRefused(f"hosts before {changes.OLDEST_HOST} reported too little")
        return changes.allocated(self._session, self._vm_id, disk)

    def _open(self, disk: Disk, datacenter: str, direct: bool) -> FolderDisk:
        place = Place.parse(disk.path)
        for query in _queries(datacenter, place.datastore):
            folder = "/folder/" + quote(place.folder, safe="/")
            try:
                text = self._fetch(f"{folder}{quote(place.name + '.vmdk', safe='')}?{query}")
            except LeaseExpired:  # no such file: under no such name, perhaps
                continue
            name, content_id = flat_extent(text, disk)
            target = f"{folder}{quote(name, safe='')}?{query}"
            file = self._try(RemoteFile(self._session, target, None, True, self._not_opened), disk, direct)
            identity = f"{devices.identity(disk, self._facts.version)} {content_id}"
            tracked = self._facts.tracking and bool(disk.change_id) and file.ranged
            return FolderDisk(self, disk, file, identity, tracked)
        raise TransportRefused(f"{self._session.endpoint} has no file {disk.path} under /folder")

    def _fetch(self, target: str) -> bytes:
        file = RemoteFile(self._session, target, None, False, self._not_opened)
        with closing(self.open_reader(file)) as reader:
            return reader.whole(MAX_DESCRIPTOR)

    def _try(self, file: RemoteFile, disk: Disk, direct: bool) -> RemoteFile:
        """The file with its size and with what its host really does. Raises TransportRefused when it is of no use."""
        with closing(self.open_reader(file)) as reader:
            try:
                reader.start(0, TRIAL_BYTES)
                reader.fill(memoryview(bytearray(TRIAL_BYTES)))
            except LeaseExpired as error:
                raise TransportRefused(f"the file with the content of {disk.label} is missing") from error
            except NoRanges:
                if not (direct and file.ranged):
                    raise
                log.info("the host honours no byte ranges: one connection", disk=disk.label)
                return self._try(RemoteFile(file.session, file.target, None, False, file.busy), disk, direct)
        if reader.total not in (None, disk.capacity_bytes):
            raise TransportRefused(
                f"the file of {disk.label} has {reader.total} bytes, the disk {disk.capacity_bytes}",
                "Is the disk whole? Another transport reads it through the host.",
            )
        return RemoteFile(file.session, file.target, disk.capacity_bytes, file.ranged, file.busy)

    def _not_opened(self, said: str) -> VmferryError:
        """Why the host does not open a file."""
        if power.state(self._session, self._vm_id) is not PowerState.OFF:
            return SourceChanged(
                f"{self._vm_id} was started while its disks were being read ({said})", "See to it that it stays off."
            )
        if "busy" in said.lower():
            return TransportRefused(f"something else holds the disk's file open ({said})", "Is a backup under way?")
        return TransferInterrupted(f"{self._session.endpoint} cannot open the disk's file ({said})", "It tries again.")


@dataclass(frozen=True)
class FolderDisk:
    """RangeDisk: the file of one disk."""

    access: FolderAccess
    disk: Disk
    file: RemoteFile
    identity: str
    tracked: bool

    @property
    def capacity(self) -> int:
        return self.disk.capacity_bytes

    def areas(self) -> Iterable[Area]:
        """The allocated areas where they are known and stand the test, else the whole disk. Asks the server each time.

        Raises what a reader's start does.
        """
        whole = [Area(0, self.capacity)]
        if not self.tracked:
            return whole
        try:
            areas = self.access.allocated(self.disk)
        except VmferryError as error:
            log.warning("change tracking is of no use, the whole disk is read", disk=self.disk.label, why=error.message)
            return whole
        if not zeros_between(areas, self.capacity, self.open_reader):
            log.warning("change tracking leaves data out, the whole disk is read", disk=self.disk.label)
            return whole
        return areas

    def open_reader(self) -> FileReader:
        return self.access.open_reader(self.file)


def _queries(datacenter: str, datastore: str) -> Iterator[str]:
    def once(text: str) -> str:
        return quote(text, safe="")

    def twice(text: str) -> str:
        return once(once(text))

    forms: tuple[Callable[[str], str], ...] = (twice, once)
    yield from dict.fromkeys(f"dcPath={form(datacenter)}&dsName={form(datastore)}" for form in forms)
