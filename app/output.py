"""Where the output of a child process goes: each sink is fed chunks of bytes as they come."""

from __future__ import annotations

from collections.abc import Callable

from app.domain.errors import ToolFailed

TAIL_BYTES = 16 << 10


class Tail:
    """The last TAIL_BYTES of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._bytes += chunk
        del self._bytes[:-TAIL_BYTES]

    def text(self) -> str:
        return bytes(self._bytes).decode(errors="replace")


class Capture:
    """All of a stream, up to a limit."""

    def __init__(self, tool: str, limit: int) -> None:
        self._bytes = bytearray()
        self._tool = tool
        self._limit = limit

    def feed(self, chunk: bytes) -> None:
        self._bytes += chunk
        if len(self._bytes) > self._limit:
            raise ToolFailed(f"{self._tool} printed more than {self._limit} bytes", tool=self._tool)

    def close(self) -> None:
        """Nothing is held back."""

    def kept(self) -> bytes:
        return bytes(self._bytes)


class Lines:
    """A stream handed on line by line; what has no newline for 64 KiB is handed on as it is."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))
        if len(self._rest) > 1 << 16:
            self.close()

    def close(self) -> None:
        if self._rest:
            self._on_line(self._rest.decode(errors="replace"))
        self._rest = b""

    def kept(self) -> bytes:
        return b""
