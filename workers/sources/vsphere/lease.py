"""The export of a VM that is off, or of a snapshot: a lease that lives as long as it is told so, and a URL a disk."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any
from urllib.parse import urlsplit

import structlog
from pyVmomi import vim

from app.domain.errors import LeaseExpired, NotFound, SourceDenied, SourceUnavailable, VmferryError
from app.domain.models import Disk, Transport
from app.ports.disks import ByteStream
from app.ports.source import CancelCheck
from workers.sources.vsphere import devices
from workers.sources.vsphere.deviceurls import map_urls
from workers.sources.vsphere.faults import Busy, describe, from_fault
from workers.sources.vsphere.session import Session
from workers.sources.vsphere.stream import DiskStream
from workers.sources.vsphere.tls import Endpoint, pinned, thumbprint

READY_SECONDS = 300.0
SETTLE_SECONDS = 15.0  # until the server shows that a lease ended: before that, it refuses to power the VM on
WATCH_SECONDS = 5.0  # how late we notice that a lease was ended by somebody else
BEAT_SECONDS = 60.0
_OVER = (vim.HttpNfcLease.State.done, vim.HttpNfcLease.State.error)

log = structlog.get_logger(__name__)


@contextmanager
def export(session: Session, vm_id: str, snapshot: str, cancel: CancelCheck) -> Iterator[ExportLease]:
    """Open a lease, over a snapshot if one is named, and keep it; complete it at the end, abort it on an exception.

    The server has let go of the VM then. Only a snapshot's lease is to be had while the VM runs.
    A lease that a killed worker left behind bars a new one until it times out: that is waited for.
    Raises SourceChanged when the VM runs, PermanentError when a disk is not among what the lease offers.
    """
    vm = session.object(vim.VirtualMachine, vm_id)
    of = session.object(vim.vm.Snapshot, snapshot) if snapshot else vm
    lease = session.when_free(lambda: _open(session, of, cancel), cancel)
    try:
        yield lease
    except BaseException:
        lease.end(lease.handle.HttpNfcLeaseAbort)
        raise
    lease.end(lease.handle.HttpNfcLeaseComplete)


def _open(session: Session, of: Any, cancel: CancelCheck) -> ExportLease:
    lease = ExportLease(
        session, session.call_once(of.ExportSnapshot if isinstance(of, vim.vm.Snapshot) else of.ExportVm)
    )
    try:
        lease.start(of, cancel)
    except BaseException as error:
        lease.end(lease.handle.HttpNfcLeaseAbort)
        if isinstance(error.__cause__, Busy):  # some versions say it through the lease instead of refusing the call
            raise error.__cause__ from error
        raise
    return lease


class ExportedDisk:
    """StreamDisk: one disk of a lease."""

    def __init__(self, lease: ExportLease, disk: Disk) -> None:
        self._lease = lease
        self._disk = disk

    @property
    def identity(self) -> str:
        return devices.identity(self._disk, self._lease.version)

    def open_stream(self) -> ByteStream:
        return self._lease.open(self._disk.key)


class ExportLease:
    """DiskAccess over an HttpNfcLease."""

    transport = Transport.NFC
    connections = 4  # a host has about 50 MB of buffers for all NFC readers

    def __init__(self, session: Session, handle: Any) -> None:
        self.handle = handle
        self.version = ""  # of the VM's configuration
        self._session = session
        self._urls: dict[int, Any] = {}
        self._disks: dict[int, Disk] = {}
        self._percent = 0
        self._timeout = 300.0
        self._over = ""  # why the lease can be read no more
        self._streams: list[DiskStream] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        told = copy_context()  # so that what the thread logs bears the job's id, too
        name = f"lease {handle._GetMoId()}"
        self._heart = threading.Thread(target=told.run, args=(self._beat,), name=name, daemon=True)

    @property
    def disk_keys(self) -> Sequence[int]:
        return list(self._urls)

    def disk(self, key: int) -> ExportedDisk:
        if key not in self._urls:
            raise NotFound(f"the export has no disk {key}", "List the VM's disks again.")
        return ExportedDisk(self, self._disks[key])

    def open(self, disk_key: int) -> DiskStream:
        """The disk as a streamOptimized VMDK, from its start."""
        self._alive()
        endpoint, context, target, cookie = self._way_to(self._urls[disk_key])
        stream = DiskStream(endpoint, context, target, cookie, alive=self._alive, look=self._look)
        with self._lock:
            self._streams.append(stream)
        if self._over:  # it may have ended while we connected
            stream.close()
        self._alive()
        return stream

    def report_percent(self, percent: int) -> None:
        """What the heartbeat tells the server: 0 to 100."""
        self._percent = max(0, min(100, percent))

    def start(self, of: Any, cancel: CancelCheck) -> None:
        """Wait until the lease is ready, find the URL of each disk, and begin to keep the lease alive."""
        deadline = time.monotonic() + READY_SECONDS
        while self._state() != vim.HttpNfcLease.State.ready:
            cancel()
            if time.monotonic() > deadline:
                raise SourceUnavailable(f"the export lease was not ready within {READY_SECONDS:.0f} s", "")
            time.sleep(0.2)
        info = self._session.properties(self.handle, "info").get("info")
        if info is None:
            raise SourceUnavailable("the export lease is ready, but does not say where the disks are", "")
        config = self._session.properties(of, "config.hardware.device", "config.changeVersion")
        self.version = config.get("config.changeVersion") or ""
        disks = devices.disks(config.get("config.hardware.device") or ())
        self._disks = {disk.key: disk for disk in disks}
        self._urls = map_urls(info.deviceUrl, disks)
        self._timeout = float(info.leaseTimeout or self._timeout)
        self._heart.start()

    def end(self, farewell: Any) -> None:
        """Stop reading and beating, say `farewell`, and wait until the server let go. What fails is only logged:
        whoever leaves by an exception keeps that one, and whoever leaves normally has all the bytes.
        """
        self._stop.set()
        self._fail("the export has ended")
        if self._heart.ident is not None:
            self._heart.join()
        for stream in self._streams:
            stream.close()
        try:
            self._session.call_once(farewell)
            self._settle()
        except VmferryError as error:
            log.warning("export lease not ended cleanly", lease=self.handle._GetMoId(), error=error.message)

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        try:
            while self._session.properties(self.handle, "state").get("state") not in _OVER:
                if time.monotonic() > deadline:
                    raise SourceUnavailable(f"the export lease still stands after {SETTLE_SECONDS:.0f} s", "")
                time.sleep(0.1)
        except NotFound:  # ended leases are forgotten
            return

    def _state(self) -> Any:
        """The lease's state. Raises LeaseExpired when it is over."""
        try:
            seen = self._session.properties(self.handle, "state", "error")
        except NotFound as error:
            raise LeaseExpired("the server forgot the export lease", "The disks are read again.") from error
        if seen.get("state") not in _OVER:
            return seen.get("state")
        fault = seen.get("error")
        cause = from_fault(fault, self._session.endpoint) if fault else None
        raise LeaseExpired(
            f"the export lease ended: {describe(fault) if fault else 'somebody completed it'}",
            "The disks are read again.",
        ) from cause

    def _beat(self) -> None:
        """Tell the server every quarter of the timeout that we are at work, and notice when the lease ends anyway."""
        every = min(self._timeout / 4, BEAT_SECONDS)
        told = time.monotonic()
        due = told
        reason = "the heartbeat of the export lease stopped"
        try:
            while True:
                try:
                    self._state()
                    if time.monotonic() >= due:
                        self._session.call(self.handle.HttpNfcLeaseProgress, self._percent)
                        told = time.monotonic()
                        due = told + every
                except SourceUnavailable as error:  # the lease lives on: try again until its time is over
                    log.warning("export lease heartbeat failed", lease=self.handle._GetMoId(), error=error.message)
                    if time.monotonic() - told > self._timeout:
                        reason = f"the export lease could not be kept alive: {error.message}"
                        return
                except VmferryError as error:
                    reason = error.message
                    return
                if self._stop.wait(min(every, WATCH_SECONDS)):
                    return
        finally:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        """No read succeeds from now on; those under way wake up."""
        with self._lock:
            self._over = self._over or reason
            streams = list(self._streams)
        for stream in streams:
            stream.interrupt()

    def _alive(self) -> None:
        if self._over:
            raise LeaseExpired(self._over, "The disks are read again under a new lease.")

    def _look(self) -> None:
        """Ask the server whether the lease still stands; not to know is no reason to say that it ended."""
        self._alive()
        with suppress(SourceUnavailable):
            self._state()

    def _way_to(self, url: Any) -> tuple[Endpoint, ssl.SSLContext, str, str]:
        """(endpoint, context, path, cookie) for a disk: another host is trusted by the certificate that the lease
        names, and gets no cookie of ours.
        """
        parts = urlsplit(url.url)
        if parts.scheme != "https" or not parts.hostname:
            raise SourceDenied(
                "the export lease offers a disk without TLS", "Encryption of NFC can be set on the host."
            )
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        own = self._session.endpoint
        endpoint = own if parts.hostname == "*" else Endpoint(parts.hostname, parts.port or 443)
        if endpoint == own:
            return own, self._session.context, target, self._session.cookie()
        if url.sslCertificate:
            return endpoint, pinned(thumbprint(ssl.PEM_cert_to_DER_cert(url.sslCertificate))), target, ""
        if url.sslThumbprint:
            return endpoint, pinned(url.sslThumbprint), target, ""
        return endpoint, self._session.context_elsewhere, target, ""
