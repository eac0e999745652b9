"""The bytes of one disk over HTTPS, with every early end told from a clean one as far as HTTP can tell."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable
from urllib.parse import quote

from app.domain.errors import LeaseExpired, SourceDenied, SourceUnavailable, TransferInterrupted
from workers.sources.vsphere.faults import translated
from workers.sources.vsphere.tls import Endpoint
from workers.sources.vsphere.wire import Wire, reason

AT_ONCE = 128 << 10  # http.client waits until it has all that is asked for: of a slow host, a cancel would wait as long


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
        self._wire = Wire(endpoint, context)
        self._received = 0
        self._reading = threading.Lock()
        try:
            with translated(endpoint):
                headers = {"Cookie": cookie} if cookie else {}
                self._response = self._wire.get(quote(target, safe="/%?&=:;,+@~"), headers)
            self._expected = None if self._response.length is None else int(self._response.length)
            self._refuse(self._response.status)
        except BaseException:
            self._wire.close()
            raise

    def readinto(self, buffer: memoryview) -> int:
        """Up to AT_ONCE bytes of the body; 0 is its end. Raises LeaseExpired or TransferInterrupted."""
        try:
            with self._reading:
                count = self._response.readinto(buffer[:AT_ONCE])
        except (OSError, http.client.HTTPException) as error:
            self._look()
            raise self._interrupted(reason(error)) from error
        self._alive()
        self._received += count
        if count == 0 and len(buffer) and self._received != self._expected:
            if not self._response.chunked:
                self._look()
            if self._expected is not None:
                raise self._interrupted(f"the body has {self._expected} bytes")
        return count

    def interrupt(self) -> None:
        """Wake a read that another thread is blocked in."""
        self._wire.interrupt()

    def close(self) -> None:
        """Let go of the connection; a read under way in another thread has to be interrupted first."""
        with self._reading:
            self._response.close()
            self._wire.close()

    def _interrupted(self, why: str) -> TransferInterrupted:
        return TransferInterrupted(
            f"{self._wire.endpoint} stopped sending after {self._received} bytes: {why}",
            "The disk is read again from its start. If it happens each time, look for a proxy or firewall with limits.",
        )

    def _refuse(self, status: int) -> None:
        if status == http.HTTPStatus.OK:
            return
        if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.NOT_FOUND):
            raise LeaseExpired(f"{self._wire.endpoint} does not know the export lease any more (HTTP {status})", "")
        if status == http.HTTPStatus.FORBIDDEN:
            raise SourceDenied(f"{self._wire.endpoint} refuses to send the disk (HTTP {status})", "Check VApp.Export.")
        raise SourceUnavailable(f"{self._wire.endpoint} did not send the disk (HTTP {status})", "")
