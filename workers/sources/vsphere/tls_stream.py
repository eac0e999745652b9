"""TLS over a socket, for http.client, that asks the kernel for much at a time.

OpenSSL on a socket makes two calls for each record of 16 KiB, and the kernel acknowledges as often: a third of all time
when disks come in at gigabytes a second.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

READ = 1 << 20

T = TypeVar("T")


class TlsStream:
    """What http.client needs of a socket. Errors: ssl.SSLError (an OSError), OSError, TimeoutError.

    A peer that closes without a goodbye looks like one that says it, as with Python's own sockets: whoever reads has to
    know how much is due.
    """

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Shake hands. After an error the socket is still the caller's to close."""
        self.raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._buffer = memoryview(bytearray(READ))
        self._users = 1  # this, and each file made of it: the socket is closed with the last
        self._pump(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._pump(partial(self._tls.write, view)) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """For reading bytes only."""
        if mode != "rb":
            raise ValueError(mode)
        self._users += 1
        return io.BufferedReader(_Reader(self))

    def settimeout(self, seconds: float) -> None:
        self.raw.settimeout(seconds)

    def close(self) -> None:
        self._users -= 1
        if not self._users:
            self.raw.close()

    def recv_into(self, view: memoryview) -> int:
        """What has come, or at least a byte; 0 at the end."""
        done = 0
        while done < len(view):
            try:
                count = cast(int, self._tls.read(len(view) - done, view[done:]))
            except ssl.SSLWantReadError:
                if done:
                    break
                self._exchange()
                continue
            except ssl.SSLEOFError:
                break
            if not count:  # the peer's goodbye
                break
            done += count
        self._send()  # an answer to a change of keys
        return done

    def _pump(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._exchange()
                continue
            self._send()
            return result

    def _exchange(self) -> None:
        self._send()
        if count := self.raw.recv_into(self._buffer):
            self._incoming.write(self._buffer[:count])
        else:
            self._incoming.write_eof()

    def _send(self) -> None:
        if self._outgoing.pending:
            self.raw.sendall(self._outgoing.read())


class _Reader(io.RawIOBase):
    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._stream.recv_into(memoryview(buffer).cast("B"))

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
