"""The lines of a .vmx or .vmsd file, read as hostile input: `key = "value"`, keys in any case, "|22" for a quote.

VMware does not load a file in which a key comes twice, in whatever case, and neither do we.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from app.domain.errors import UnsafeImage
from converters.vmware_text import decode

MAX_CONFIG = 4 << 20  # guestinfo may hold whole files
_LINE = re.compile(r'([^\s="#]{1,200})\s*=\s*(?:"([^"]*)"|([^"]*?))\s*')
_ESCAPES = re.compile(r"(?:\|[0-9A-Fa-f]{2})+")
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_NUMBER = re.compile(r"\d{1,18}")


def refuse(reason: str, remedy: str = "") -> UnsafeImage:
    """The error for a configuration that may not go on, to be raised by the caller."""
    return UnsafeImage(f"VMX refused: {reason}", remedy or "Open the VM in VMware once, and see what it says of it.")


class Config:
    """The values by their keys, which are in lower case."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def parse(cls, data: bytes) -> Config:
        """Raises UnsafeImage for what is malformed, too long, or says one thing twice."""
        if len(data) > MAX_CONFIG:
            raise refuse(f"it has {len(data)} bytes")
        if b"\0" in data:
            raise refuse("it is no text")
        values: dict[str, str] = {}
        for line in decode(data.removeprefix(b"\xef\xbb\xbf")).split("\n"):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise refuse(f"the line {line[:80]!r}")
            key = match[1].lower()
            if key in values:
                raise refuse(f"two values for {match[1]}", "VMware does not load it either: take out one of the lines.")
            values[key] = _unescape(match[2] if match[2] is not None else match[3])
        return cls(values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str, default: str = "") -> str:
        return self._values.get(key.lower()) or default

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.text(key).lower()
        return value in _TRUE if value else default

    def number(self, key: str, default: int, least: int, most: int) -> int:
        """Raises UnsafeImage for what is no number between the two."""
        value = self.text(key)
        if not value:
            return default
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise refuse(f"{key} is {value[:40]!r}")
        return int(value)


def _unescape(value: str) -> str:
    text = _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("|", "")).decode(errors="replace"), value)
    if "\0" in text:
        raise refuse("a value with a NUL in it")
    return text
