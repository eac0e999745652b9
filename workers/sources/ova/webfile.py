"""Storage on a web server: a file that is read in byte ranges where the server honours them, else from its start."""

from __future__ import annotations

import threading
from contextlib import closing
from http import HTTPStatus

from app.domain.errors import SourceChanged, SourceDenied, TransferInterrupted
from workers.sources.ova.web import Answer, WebSite

WINDOW = 64 << 10  # what a read of a few bytes asks for, since the next ones are near


class WebFile:
    """Storage. The first request is for a real range: what a server announces is no proof that it does it."""

    def __init__(self, site: WebSite, path: str) -> None:
        """Raises NotFound, SourceDenied, SourceUnavailable."""
        self._site = site
        self._path = path
        self.name = site.url(path)
        self._lock = threading.Lock()
        self._window = (0, b"")
        with closing(site.get(path, 0, WINDOW - 1)) as answer:
            self.modified = answer.modified
            self.date = answer.date  # the server's clock
            self._said = answer.stamp
            self.ranges = answer.status == HTTPStatus.PARTIAL_CONTENT
            self.size: int | None = answer.length
            if self.ranges:
                self.size = (answer.part or (0, 0, None))[2]
                end = min(WINDOW, self.size or 0)
                if answer.part != (0, end - 1, self.size):
                    raise SourceDenied(f"{self.name}: the server answers ranges wrongly", "Use another web server.")
                self._window = (0, _whole(answer, end))

    @property
    def stamp(self) -> str:
        return f"{self.name} {self.size} {self._said}"

    def read(self, offset: int, length: int) -> bytes:
        assert self.size is not None
        with self._lock:
            start, data = self._window
            if not start <= offset <= offset + length <= start + len(data):
                end = min(self.size, offset + max(length, WINDOW))
                with closing(self._range(offset, end - 1)) as answer:
                    start, data = self._window = offset, _whole(answer, end - offset)
            return data[offset - start : offset - start + length]

    def stream(self, offset: int = 0, length: int | None = None) -> Answer:
        if not self.ranges:
            assert offset == 0
            assert length is None
            answer = self._site.get(self._path)
            try:
                self._require_same(answer, answer.length)
            except BaseException:
                answer.close()
                raise
            return answer
        assert self.size is not None
        return self._range(offset, (self.size if length is None else offset + length) - 1)

    def close(self) -> None:
        """Each request had a connection of its own."""

    def _range(self, first: int, last: int) -> Answer:
        answer = self._site.get(self._path, first, last)
        try:
            part = answer.part
            if part is None or part[:2] != (first, last):
                raise TransferInterrupted(
                    f"{self.name}: the server did not send the bytes that were asked for", "It is read again."
                )
            if answer.length not in (None, last - first + 1):
                raise TransferInterrupted(f"{self.name}: the server contradicts itself", "It is read again.")
            self._require_same(answer, part[2])
        except BaseException:
            answer.close()
            raise
        return answer

    def _require_same(self, answer: Answer, size: int | None) -> None:
        if answer.stamp != self._said or size != self.size:
            raise SourceChanged(
                f"{self.name} was replaced while it was read", "Wait until it is whole, and move the VM again."
            )


def _whole(answer: Answer, length: int) -> bytes:
    """A body of so many bytes. Raises TransferInterrupted where it ends before."""
    data = memoryview(bytearray(length))
    done = 0
    while done < length:
        count = answer.readinto(data[done:])
        if not count:
            raise TransferInterrupted(f"a body ended after {done} of {length} bytes", "It is read again.")
        done += count
    return bytes(data)
