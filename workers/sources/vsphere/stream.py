"""The bytes of one disk over HTTPS, with every early end told from a clean one as far as HTTP can tell."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from app.domain.errors import LeaseExpired, SourceDenied, SourceUnavailable, TransferInterrupted
from workers.sources.vsphere.faults import translated
from workers.sources.vsphere.tls import Endpoint

CONNECT_SECONDS = 30.0
READ_SECONDS = 120.0  # a host that reads zeros of a thick disk sends nothing for a while


class DiskStream:
    """A ByteStream. A body with a length or in chunks cannot end early unnoticed; one that ends with its connection
    can, which the VMDK's end-of-stream marker shows to the decoder.

    `alive` raises LeaseExpired once the lease is known to be over, and is asked after every read; `look` asks the
    server first, and is for an end that may come of that.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        context: ssl.SSLContext,
        target: str,
        cookie: str,
        *,
        alive: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        """Ask `endpoint` for `target`, a path with its query. `cookie` may be empty: never give it to another host."""
        self._alive = alive
        self._look = look
        self._endpoint = endpoint
        self._connection = http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=CONNECT_SECONDS, context=context
        )
        self._received = 0
        self._reading = threading.Lock()  # http.client breaks when it is closed during a read
        try:
            with translated(endpoint):
                self._connection.connect()
                self._socket: socket.socket = self._connection.sock
                self._socket.settimeout(READ_SECONDS)
                headers = {"Cookie": cookie} if cookie else {}
                self._connection.request("GET", quote(target, safe="/%?&=:;,+@~"), headers=headers)
                self._response = self._connection.getresponse()
            self._expected = None if self._response.length is None else int(self._response.length)
            self._refuse(self._response.status)
        except BaseException:
            self._connection.close()
            raise

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as the body goes; 0 is its end. Raises LeaseExpired or TransferInterrupted."""
        try:
            with self._reading:
                count = self._response.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            self._look()
            raise self._interrupted(_reason(error)) from error
        self._alive()
        self._received += count
        if count == 0 and len(buffer) and self._received != self._expected:
            if not self._response.chunked:
                self._look()
            if self._expected is not None:
                raise self._interrupted(f"the body has {self._expected} bytes")
        return count

    def interrupt(self) -> None:
        """Wake a read that another thread is blocked in. Not SSLSocket's own shutdown: it would go on without TLS."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; a read under way in another thread has to be interrupted first."""
        with self._reading:
            self._response.close()
            self._connection.close()

    def _interrupted(self, reason: str) -> TransferInterrupted:
        return TransferInterrupted(
            f"{self._endpoint} stopped sending after {self._received} bytes: {reason}",
            "The disk is read again from its start. If it happens each time, look for a proxy or firewall with limits.",
        )

    def _refuse(self, status: int) -> None:
        if status == http.HTTPStatus.OK:
            return
        if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.NOT_FOUND):
            raise LeaseExpired(f"{self._endpoint} does not know the export lease any more (HTTP {status})", "")
        if status == http.HTTPStatus.FORBIDDEN:
            raise SourceDenied(f"{self._endpoint} refuses to send the disk (HTTP {status})", "Check VApp.Export.")
        raise SourceUnavailable(f"{self._endpoint} did not send the disk (HTTP {status})", "")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {READ_SECONDS:.0f} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was closed in the middle of the body"
    return f"{type(error).__name__}: {error}"
