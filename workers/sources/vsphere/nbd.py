"""The disks of a VM through nbdkit, one a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.domain.errors import LeaseExpired, TransferInterrupted, TransportRefused
from app.domain.models import Disk, SourceSpec, Transport
from app.ports.disks import Area, RangeReader
from app.ports.source import CancelCheck
from app.process import secret_file
from converters.vmdk import MAX_DESCRIPTOR
from workers.sources.vsphere import devices, nbdkit
from workers.sources.vsphere.access import RangeAccess
from workers.sources.vsphere.facts import Facts, Place, look, require_off
from workers.sources.vsphere.faults import translated
from workers.sources.vsphere.flat import flat_extent, require_file, require_whole
from workers.sources.vsphere.nbdkit import NbdkitOptions, Served
from workers.sources.vsphere.samples import zeros_between
from workers.sources.vsphere.session import Session
from workers.sources.vsphere.tls import leaf

CONNECTIONS = 4  # hosts have about 50 MB of buffers for all who read through port 902

log = structlog.get_logger(__name__)


@contextmanager
def serve_disks(
    session: Session, spec: SourceSpec, options: NbdkitOptions, vm_id: str, snapshot: str, cancel: CancelCheck
) -> Iterator[NbdAccess]:
    """Start an nbdkit for each disk, with the first plugin that works here.

    Nothing keeps the VM off meanwhile. Raises TransportRefused where no plugin works or opens the disks, and
    SourceChanged when the VM runs and no snapshot is named.
    """
    choice = nbdkit.choose(spec, options)
    if not choice.plugin:
        raise TransportRefused(f"nbdkit cannot read the disks: {choice.reason}", "docs/settings.md says what it needs.")
    facts = look(session, vm_id, snapshot)
    if choice.plugin == "ssh":
        require_whole(facts, snapshot)
    if not snapshot:
        require_off(facts, vm_id)
    with ExitStack() as opened:
        password = opened.enter_context(secret_file(spec.password))
        opener = _Opener(session, spec, options, vm_id, snapshot, facts, password, opened)
        access = NbdAccess()
        for disk in facts.disks:
            cancel()
            served, content_id = opener.over_ssh(disk) if choice.plugin == "ssh" else opener.over_902(disk, choice)
            if served.disk.capacity != disk.capacity_bytes:
                raise TransportRefused(f"nbdkit says that {disk.label} has {served.disk.capacity} bytes")
            identity = f"{devices.identity(disk, facts.version)} {content_id}"
            access.disks[disk.key] = ServedDisk(access, disk, served, identity)
        opened.callback(access.end)
        yield access


@dataclass(frozen=True)
class _Opener:
    """Starts nbdkit for one disk after the other; all of them end with `opened`."""

    session: Session
    spec: SourceSpec
    options: NbdkitOptions
    vm_id: str
    snapshot: str
    facts: Facts
    password: Path
    opened: ExitStack

    def over_902(self, disk: Disk, choice: nbdkit.Choice) -> tuple[Served, str]:
        """The disk through vddk or nfc, which tell nothing of its content."""
        endpoint = self.session.endpoint
        with translated(endpoint):
            certificate = leaf(endpoint, self.session.context)
        words = nbdkit.vsphere_words(self.spec, endpoint, certificate, self.password, self.vm_id, disk, self.snapshot)
        env = {}
        if choice.plugin == "vddk":
            words += nbdkit.vddk_words(self.options)
        else:
            words += nbdkit.nfc_words(self.spec)
            if self.spec.tls.ca_pem:
                env["SSL_CERT_FILE"] = str(self.opened.enter_context(secret_file(self.spec.tls.ca_pem)))
        return self.opened.enter_context(nbdkit.serve(choice.plugin, words, env)), ""

    def over_ssh(self, disk: Disk) -> tuple[Served, str]:
        """The disk, and the id of its content."""
        require_file(self.session, disk, self.facts.datastores[disk.key])
        place = Place.parse(disk.path)
        with nbdkit.serve("ssh", self._ssh_words(place, f"{place.name}.vmdk")) as descriptor:
            size = descriptor.disk.capacity
            if size > MAX_DESCRIPTOR:
                raise TransportRefused(f"the descriptor of {disk.label} has {size} bytes: it is none")
            text = bytearray(size)
            with closing(descriptor.disk.open_reader()) as reader:
                reader.start(0, size)
                reader.fill(memoryview(text))
        name, content_id = flat_extent(bytes(text), disk)
        return self.opened.enter_context(nbdkit.serve("ssh", self._ssh_words(place, name))), content_id

    def _ssh_words(self, place: Place, name: str) -> list[str]:
        return nbdkit.ssh_words(self.spec, self.session.endpoint, self.options, self.password, place, name)


class NbdAccess(RangeAccess["ServedDisk", "ServedReader"]):
    """DiskAccess through nbdkit."""

    def __init__(self) -> None:
        super().__init__(Transport.NBD, CONNECTIONS)

    def open_reader(self, served: Served) -> ServedReader:
        return self.keep(ServedReader(served, self.alive, self.forget))


@dataclass(frozen=True)
class ServedDisk:
    """RangeDisk: what one nbdkit serves."""

    access: NbdAccess
    disk: Disk
    served: Served
    identity: str

    @property
    def capacity(self) -> int:
        return self.disk.capacity_bytes

    def areas(self) -> Iterable[Area]:
        """What the plugin does not call zeros, if that stands the test, else the whole disk."""
        self.access.alive()
        areas = list(self.served.disk.areas())
        if not zeros_between(areas, self.capacity, self.open_reader):
            log.warning("nbdkit leaves data out, the whole disk is read", disk=self.disk.label)
            return [Area(0, self.capacity)]
        return areas

    def open_reader(self) -> ServedReader:
        return self.access.open_reader(self.served)


class ServedReader:
    """RangeReader. After TransferInterrupted it may start anew; after interrupt() it may only be closed."""

    def __init__(self, served: Served, alive: Callable[[], None], forget: Callable[[ServedReader], None]) -> None:
        self._served = served
        self._alive = alive
        self._forget = forget
        self._reader: RangeReader | None = None
        self._stopped = False

    def start(self, offset: int, length: int) -> None:
        with self._watched():
            if self._stopped:
                raise TransferInterrupted("reading was stopped")
            if self._reader is None:
                self._reader = self._served.disk.open_reader()
            self._reader.start(offset, length)

    def fill(self, buffer: memoryview) -> None:
        with self._watched():
            if self._reader is None:
                raise TransferInterrupted("reading was stopped")
            self._reader.fill(buffer)

    def interrupt(self) -> None:
        self._stopped = True
        if (reader := self._reader) is not None:
            reader.interrupt()

    def close(self) -> None:
        self._forget(self)
        self._drop()

    def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._alive()
        try:
            yield
        except TransferInterrupted as error:
            self._drop()
            self._alive()
            if self._stopped:
                raise
            if nbdkit.ended(self._served.server):
                raise LeaseExpired(f"nbdkit has ended: {nbdkit.last_words(self._served.server)}", "") from error
            if self._served.disk.connections == 1:  # it is not opened a second time
                raise LeaseExpired(f"the only connection to nbdkit broke: {error.message}", "") from error
            raise
