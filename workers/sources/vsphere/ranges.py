"""Byte ranges of a file over HTTPS: a cut body never looks whole, and other bytes never pass for those asked for.

A body is read straight into the caller's buffer: http.client's own buffer holds what came with the headers, no more.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn

from app.domain.errors import (
    LeaseExpired,
    SourceChanged,
    SourceDenied,
    SourceUnavailable,
    TransferInterrupted,
    TransportRefused,
    VmferryError,
)
from workers.sources.vsphere.faults import translated
from workers.sources.vsphere.session import Session
from workers.sources.vsphere.wire import Wire, reason

ERROR_BYTES = 4096  # of a body that says what is wrong
_SKIP_BYTES = 1 << 20
_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class NoRanges(TransportRefused):
    """The host sends something else than the range that was asked for."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the session's own host. `target` is its quoted path and query, `size` None while not known.

    `ranged`: whether the host honours byte ranges; one that does not is read on from where it is, or from the start.
    `busy` gives the error for a file that the host does not open.
    """

    session: Session
    target: str
    size: int | None
    ranged: bool
    busy: Callable[[str], VmferryError]


class FileReader:
    """RangeReader over a connection of its own. `alive` raises LeaseExpired once the access has ended.

    After TransferInterrupted it may start anew; after interrupt() it may only be closed.
    """

    def __init__(self, file: RemoteFile, alive: Callable[[], None], forget: Callable[[FileReader], None]) -> None:
        self.total = file.size  # as the last answer said, where the size was not known
        self._file = file
        self._alive = alive
        self._forget = forget
        self._wire = Wire(file.session.endpoint, file.session.context)
        self._cookie = ""
        self._response: http.client.HTTPResponse | None = None
        self._at = 0  # the file's offset of the next byte that the body brings
        self._left = 0  # what of the range has not been handed out
        self._busy = threading.Lock()

    def start(self, offset: int, length: int) -> None:
        """Raises besides: SourceChanged when the file is not what it was, or its VM runs; SourceDenied."""
        with self._busy, self._wakeful():
            if self._file.ranged:
                self._open_range(offset, length)
            else:
                self._read_on(offset)
            self._left = length

    def fill(self, buffer: memoryview) -> None:
        with self._busy, self._wakeful():
            if len(buffer) > self._left:
                raise ValueError(f"{len(buffer)} bytes asked of {self._left}")
            self._fill(buffer)
            self._left -= len(buffer)

    def whole(self, limit: int) -> bytes:
        """A small file from its start. Raises TransportRefused for one of more than `limit` bytes."""
        with self._busy, self._wakeful():
            self._read_on(0)
            assert self._response is not None
            data = self._response.read(limit + 1)
            self._let_go()
        if len(data) > limit:
            raise TransportRefused(f"{self._host} has a file of more than {limit} bytes where few are due")
        return data

    def interrupt(self) -> None:
        self._wire.interrupt()

    def close(self) -> None:
        """A call under way in another thread has to be interrupted first."""
        self._forget(self)
        with self._busy:
            self._let_go()

    def _open_range(self, offset: int, length: int) -> None:
        if self._response is not None and not self._response.isclosed():
            self._let_go()  # the rest of a body stands in the way of the next answer
        last = offset + length - 1
        response = self._ask({"Range": f"bytes={offset}-{last}"})
        span = _SPAN.fullmatch(response.getheader("Content-Range", ""))
        if response.status == HTTPStatus.OK:
            raise _no_ranges(f"{self._host} sends the whole file where a range is asked for")
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            self._refuse(response)
        if span is None or (int(span[1]), int(span[2])) != (offset, last) or response.length not in (None, length):
            raise _no_ranges(f"{self._host} answers bytes {offset} to {last} with other ones")
        self._require_size(int(span[3]))
        self._at = offset

    def _read_on(self, offset: int) -> None:
        if self._response is None or self._response.isclosed() or self._at > offset:
            self._let_go()
            response = self._ask({})
            if response.status != HTTPStatus.OK:
                self._refuse(response)
            if response.length is not None:
                self._require_size(int(response.length))
            self._at = 0
        skipped = memoryview(bytearray(min(_SKIP_BYTES, offset - self._at)))
        while self._at < offset:
            self._fill(skipped[: offset - self._at])

    def _ask(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send the request; once more with a new session when the host does not know ours any more."""
        self._cookie = self._cookie or self._file.session.cookie()
        response = self._send({**headers, "Cookie": self._cookie})
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._let_go()
            self._cookie = self._file.session.cookie(refused=self._cookie)
            response = self._send({**headers, "Cookie": self._cookie})
        self._response = response
        return response

    def _send(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        with translated(self._file.session.endpoint):
            if self._wire.connected:
                try:
                    return self._wire.get(self._file.target, headers)
                except (ConnectionError, ssl.SSLError):  # closed while nothing was asked for
                    self._let_go()
            return self._wire.get(self._file.target, headers)

    def _fill(self, buffer: memoryview) -> None:
        assert self._response is not None
        done = 0
        while done < len(buffer):
            count = self._response.readinto(buffer[done:])
            if not count:
                raise http.client.IncompleteRead(b"")
            done += count
        self._at += done

    def _require_size(self, total: int) -> None:
        if self._file.size not in (None, total):
            raise SourceChanged(
                f"the file behind the disk has {total} bytes now, not {self._file.size}",
                "Somebody changed the disk while it was being read. See to it that nobody does, and try again.",
            )
        self.total = total

    def _refuse(self, response: http.client.HTTPResponse) -> NoReturn:
        """Raise what an answer without content means."""
        status, host = response.status, self._host
        said = f"HTTP {status}"
        match status:
            case HTTPStatus.UNAUTHORIZED:
                raise SourceDenied(f"{host} takes its own session for none ({said})", "Is a proxy between?")
            case HTTPStatus.FORBIDDEN:
                raise TransportRefused(
                    f"{host} does not let the account read the datastore's files ({said})",
                    "Add Datastore.Browse to its role, on the datastore; or use another transport.",
                )
            case HTTPStatus.NOT_FOUND:
                raise LeaseExpired(f"{host} has the disk's file no more ({said})", "The disks are looked up again.")
            case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise SourceChanged(f"the file behind the disk became shorter ({said})", "Who changed the disk?")
            case HTTPStatus.INTERNAL_SERVER_ERROR:
                text = response.read(ERROR_BYTES).decode(errors="replace")
                raise self._file.busy(f"{said}: {' '.join(re.sub('<[^>]*>', ' ', text).split())[:200]}")
            case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise TransportRefused(f"{host} does not send the disk's file ({said})")
        raise TransferInterrupted(f"{host} cannot send the disk's file now ({said})", "It is asked again.")

    @contextmanager
    def _wakeful(self) -> Iterator[None]:
        """Once the access is over, that is the error; a connection that failed is not used again."""
        self._alive()
        try:
            yield
        except (OSError, http.client.HTTPException, SourceUnavailable) as error:
            self._let_go()
            self._alive()
            why = error.message if isinstance(error, SourceUnavailable) else reason(error)
            raise TransferInterrupted(
                f"{self._host} stopped sending at byte {self._at} of the file: {why}",
                "The range is read again. If it happens each time, look for a proxy or firewall with limits.",
            ) from error
        except VmferryError:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        self._left = 0
        self._wire.close()

    @property
    def _host(self) -> str:
        return str(self._file.session.endpoint)


def _no_ranges(message: str) -> NoRanges:
    return NoRanges(message, "Another transport does without byte ranges: leave the choice to vmferry.")
