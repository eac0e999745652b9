"""One HTTPS connection for one thread, kept between requests, that other threads may interrupt."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress

from workers.sources.vsphere.tls import Endpoint
from workers.sources.vsphere.tls_stream import TlsStream

CONNECT_SECONDS = 30.0
READ_SECONDS = 120.0  # a host that reads zeros of a thick disk sends nothing for a while


class Wire:
    """Raises what http.client raises: OSError and HTTPException. After either it has to be closed.

    http.client breaks when it is closed during a read: close it in the thread that reads, or when that one is done.
    """

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self.endpoint = endpoint
        self._context = context
        self._connection: _Connection | None = None
        self._socket: socket.socket | None = None
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.sock is not None

    def get(self, target: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Ask for a path with its query, quoted; the body of the answer before must have been read to its end."""
        if not self.connected:
            self._connect()
        assert self._connection is not None
        self._connection.request("GET", target, headers=dict(headers))
        return self._connection.getresponse()

    def interrupt(self) -> None:
        """Let what another thread waits for fail, and all that is asked later."""
        with self._lock, suppress(OSError):
            self._stopped = True
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; the next request opens another one."""
        with self._lock:
            self._socket = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> None:
        connection = _Connection(self.endpoint, self._context)
        try:
            if not self._stopped:
                connection.connect()
            with self._lock:
                if self._stopped:
                    raise ConnectionAbortedError("reading was stopped")
                self._socket = connection.sock.raw
            connection.sock.settimeout(READ_SECONDS)
        except BaseException:
            connection.close()
            raise
        self._connection = connection


class _Connection(http.client.HTTPConnection):
    default_port = 443
    sock: TlsStream

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        super().__init__(endpoint.host, endpoint.port, timeout=CONNECT_SECONDS)
        self._context = context

    def connect(self) -> None:
        raw = socket.create_connection((self.host, self.port), CONNECT_SECONDS)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = TlsStream(raw, self._context, self.host)
        except BaseException:
            raw.close()
            raise


def reason(error: Exception) -> str:
    """Why a body did not come to its end, in few words."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {READ_SECONDS:.0f} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was closed in the middle of the body"
    return f"{type(error).__name__}: {error}"
