"""A disk that an NBD server exports, read over as many connections as the server allows.

Every wait ends: after SILENCE_SECONDS without a byte, or when another thread interrupts the reader. A connection that
failed is never used again, for the server may still be writing into the buffer of whoever gave up.
"""

from __future__ import annotations

import errno
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import nbd

from app.domain.errors import TransferInterrupted, TransportRefused, UnsafeImage
from app.ports.disks import Area
from converters.nbd_uri import NbdUri
from converters.range_cursor import require_inside
from converters.vmdk import MAX_CAPACITY, SECTOR

CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 120.0
CONNECTIONS = 8  # of one disk, where the server takes more than one
_LOOK_SECONDS = 0.2  # how late an interrupt is noticed
_CHUNK = 256 << 10  # of one request; those of a buffer are all under way at once
_STATUS_SPAN = 1 << 30  # the largest block-status question; the protocol has 32 bits
_UNREACHED = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE}
)


@contextmanager
def open_nbd_disk(uri: NbdUri, identity: str = "") -> Iterator[NbdDisk]:
    """Connect, and leave in order at the end.

    `identity`: what the content is known by; empty: an export tells nothing, so each opening is another content.
    Raises TransportRefused where the server does not give the export like this, TransferInterrupted where it cannot be
    reached, UnsafeImage for a size that no disk has.
    """
    disk = NbdDisk(uri, identity or f"{uri} {uuid.uuid4()}")
    try:
        yield disk
    finally:
        disk.close()


class NbdDisk:
    """A RangeDisk. `connections`: how many readers can read at once; more of them take turns."""

    def __init__(self, uri: NbdUri, identity: str) -> None:
        self.identity = identity
        self._uri = uri
        self._first = _Connection(uri)
        self.capacity: int = self._first.size
        self.connections = CONNECTIONS if self._first.several else 1
        if not 0 < self.capacity <= MAX_CAPACITY:
            self._first.close()
            raise UnsafeImage(f"{uri} has {self.capacity} bytes", "No disk has that size: see what the server exports.")

    def areas(self) -> Iterable[Area]:
        """What the server does not say to read as zeros; in whole sectors. A hole whose bytes it leaves open counts."""
        start = end = -1
        for offset, length, zero in self._status():
            if zero:
                continue
            first = offset // SECTOR * SECTOR
            if first > end:
                if end > start:
                    yield Area(start, end - start)
                start = first
            end = min(-(-(offset + length) // SECTOR) * SECTOR, self.capacity)
        if end > start:
            yield Area(start, end - start)

    def open_reader(self) -> NbdReader:
        if self.connections == 1:
            return NbdReader(self._first, self.capacity, owns=False)
        connection = _Connection(self._uri)
        if connection.size != self.capacity:
            connection.close()
            raise TransferInterrupted(f"{self._uri} had {self.capacity} bytes, now it has {connection.size}")
        return NbdReader(connection, self.capacity, owns=True)

    def close(self) -> None:
        self._first.close()

    def _status(self) -> Iterator[tuple[int, int, bool]]:
        offset = 0
        while offset < self.capacity:
            for length, zero in self._first.status(offset, min(_STATUS_SPAN, self.capacity - offset)):
                length = min(length, self.capacity - offset)
                if length:
                    yield offset, length, zero
                offset += length


class NbdReader:
    """A RangeReader."""

    def __init__(self, connection: _Connection, capacity: int, *, owns: bool) -> None:
        self._connection = connection
        self._capacity = capacity
        self._owns = owns
        self._at = self._end = 0
        self._stop = threading.Event()

    def start(self, offset: int, length: int) -> None:
        require_inside(offset, length, self._capacity)
        self._at, self._end = offset, offset + length

    def fill(self, buffer: memoryview) -> None:
        require_inside(self._at, len(buffer), self._end)
        self._connection.read(self._at, buffer, self._stop)
        self._at += len(buffer)

    def interrupt(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        if self._owns:
            self._connection.close()


class _Connection:
    """One connection; threads take turns."""

    def __init__(self, uri: NbdUri) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._handle: nbd.NBD | None = _connect(uri)
        handle = self._handle
        try:
            self.size: int = handle.get_size()
            self.several: bool = handle.can_multi_conn()
            self._tells = handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
            self._block = max(handle.get_block_size(nbd.SIZE_MINIMUM), 1)
            self._most = min(handle.get_block_size(nbd.SIZE_MAXIMUM) or _CHUNK, _CHUNK)
        except nbd.Error as error:
            raise TransportRefused(f"{uri}: {error.string}") from error

    def read(self, offset: int, buffer: memoryview, stop: threading.Event) -> None:
        end = offset + len(buffer)
        first, last = offset // self._block * self._block, min(-(-end // self._block) * self._block, self.size)
        if (first, last) == (offset, end):
            self._read_blocks(offset, buffer, stop)
        else:  # a server with blocks larger than sectors
            whole = memoryview(bytearray(last - first))
            self._read_blocks(first, whole, stop)
            buffer[:] = whole[offset - first : end - first]

    def status(self, offset: int, length: int) -> list[tuple[int, bool]]:
        """(length, reads as zeros) of what follows from `offset` on: less than was asked for, or a little more."""
        if not self._tells:
            return [(length, False)]
        found: list[int] = []

        def note(context: str, _offset: int, entries: list[int], _error: Any) -> int:
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                found.extend(entries)
            return 0

        with self._use("asking for the allocation of") as handle:
            cookie = handle.aio_block_status(length, offset, note)
            self._wait(handle, [cookie], threading.Event())
        if not any(found[::2]):
            raise TransferInterrupted(f"{self._uri} does not say what is allocated at {offset}")
        return [(size, bool(flags & nbd.STATE_ZERO)) for size, flags in zip(found[::2], found[1::2], strict=True)]

    def close(self) -> None:
        with self._lock:
            handle, self._handle = self._handle, None
            if handle is not None:
                with suppress(nbd.Error):  # it has all it was asked for, or failed before
                    handle.aio_disconnect()

    def _read_blocks(self, offset: int, buffer: memoryview, stop: threading.Event) -> None:
        with self._use("reading") as handle:
            cookies = []
            for start in range(0, len(buffer), self._most):
                part = nbd.Buffer.from_buffer(buffer[start : start + self._most])
                cookies.append(handle.aio_pread(part, offset + start))
            self._wait(handle, cookies, stop)

    def _wait(self, handle: nbd.NBD, cookies: list[int], stop: threading.Event) -> None:
        deadline = time.monotonic() + SILENCE_SECONDS
        waiting = cookies
        while True:
            left = [cookie for cookie in waiting if not handle.aio_command_completed(cookie)]
            if not left:
                return
            if len(left) < len(waiting):
                deadline = time.monotonic() + SILENCE_SECONDS
            waiting = left
            _poll(self._uri, handle, deadline, stop.is_set)

    @contextmanager
    def _use(self, action: str) -> Iterator[nbd.NBD]:
        with self._lock:
            handle = self._handle
            if handle is None:
                raise TransferInterrupted(f"the connection to {self._uri} is closed")
            try:
                yield handle
            except nbd.Error as error:
                self._handle = None
                raise TransferInterrupted(f"{action} {self._uri} failed: {error.string}") from error
            except BaseException:
                self._handle = None
                raise


def _poll(uri: NbdUri, handle: nbd.NBD, deadline: float, stopped: Callable[[], bool]) -> None:
    """Let the connection go on for a while. Raises TransferInterrupted when it is stopped or too late."""
    if stopped():
        raise TransferInterrupted(f"the reader of {uri} was stopped")
    if time.monotonic() > deadline:
        raise TransferInterrupted(f"{uri} does not answer", "See whether its server is up, and whether it is loaded.")
    handle.poll(int(_LOOK_SECONDS * 1000))


def _connect(uri: NbdUri) -> nbd.NBD:
    handle = nbd.NBD()
    try:
        handle.set_export_name(uri.export)
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.set_tls(nbd.TLS_REQUIRE if uri.tls else nbd.TLS_DISABLE)
        if uri.certificates:
            handle.set_tls_certificates(uri.certificates)
        if uri.psk:
            handle.set_tls_psk_file(uri.psk)
        if uri.username:
            handle.set_tls_username(uri.username)
        if uri.socket:
            handle.aio_connect_unix(uri.socket)
        else:
            handle.aio_connect_tcp(uri.host, str(uri.port))
        deadline = time.monotonic() + CONNECT_SECONDS
        while handle.aio_is_connecting():
            _poll(uri, handle, deadline, bool)
    except nbd.Error as error:
        raise _refused(uri, error) from error
    return handle


def _refused(uri: NbdUri, error: nbd.Error) -> TransferInterrupted | TransportRefused:
    if error.errnum in _UNREACHED or (uri.socket and error.errnum in (errno.ENOENT, errno.EACCES)):
        return TransferInterrupted(f"{uri} cannot be reached: {error.string}", "See whether its server is up.")
    return TransportRefused(
        f"{uri} is not given: {error.string}", "Check the export's name, and whether the server asks for TLS (nbds)."
    )
