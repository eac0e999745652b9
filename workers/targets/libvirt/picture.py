"""A console's picture as PNG: newer QEMUs give one, older ones a PPM."""

from __future__ import annotations

import re
import struct
import zlib

from app.domain.errors import TargetUnavailable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")


def as_png(data: bytes) -> bytes:
    """The picture as a whole PNG. Raises TargetUnavailable for anything that is neither."""
    if header := _PPM.match(data):
        return _encode(int(header[1]), int(header[2]), data[header.end() :])
    if not _whole(data):
        raise TargetUnavailable(f"the hypervisor gave {len(data)} bytes that are no picture")
    return data


def _encode(width: int, height: int, pixels: bytes) -> bytes:
    row = 3 * width
    if not pixels or len(pixels) != row * height:
        raise TargetUnavailable(f"the hypervisor gave a picture of {width}x{height} with {len(pixels)} bytes")
    lines = b"".join(b"\0" + pixels[start : start + row] for start in range(0, len(pixels), row))
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", size) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _whole(data: bytes) -> bool:
    """Every chunk is there with its checksum, from IHDR to IEND."""
    if not data.startswith(_SIGNATURE + b"\0\0\0\rIHDR"):
        return False
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
