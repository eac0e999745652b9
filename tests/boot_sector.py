"""The smallest guest that there is: a boot sector that says a text on the first serial port, and stops."""

from __future__ import annotations

# lodsb over the text that follows the code: each byte goes to the first serial port
_CODE = b"\xfc\xbe\x12\x7c\xba\xf8\x03\xac\x08\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfd"


def speaking(text: bytes) -> bytes:
    """The sector; the text has room for 490 bytes."""
    sector = _CODE + text + b"\n\0"
    if len(sector) > 510:
        raise ValueError("the text is too long for a boot sector")
    return sector.ljust(510, b"\0") + b"\x55\xaa"
