"""What a disk held when it was copied: one hash for each MiB that is not all zeros.

The hashes find damage, not forgery: xxh3_128 is fast, not cryptographic.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import xxhash

from app.domain.errors import InvalidRequest

VERSION = 1
ALGORITHM = "xxh3_128"
EXTENT = 1 << 20
DIGEST_BYTES = 16


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """The hash of one extent."""
    return xxhash.xxh3_128_digest(data)


@cache
def zero_digest(size: int) -> bytes:
    """The hash of an extent of `size` zeros."""
    return digest(bytes(size))


@dataclass(frozen=True)
class Manifest:
    """The hashes of one disk. 1 TiB of data without a hole takes 22 MiB as JSON."""

    disk: str  # the disk's key on its source
    capacity: int  # bytes
    present: bytes  # a bit for each extent, lowest first: 1 when it is not all zeros
    digests: bytes  # DIGEST_BYTES for each extent that is present, in order
    data_bytes: int  # guest bytes that were written; capacity minus these are zeros
    wire_bytes: int  # bytes read from the source
    created: datetime

    def extents(self) -> Iterator[bytes | None]:
        """The digest of each extent in order; None for one that is all zeros."""
        start = 0
        for index in range(-(-self.capacity // EXTENT)):
            if self.present[index >> 3] >> (index & 7) & 1:
                yield self.digests[start : start + DIGEST_BYTES]
                start += DIGEST_BYTES
            else:
                yield None

    @property
    def digest(self) -> str:
        """One hash for the whole disk, as hex: equal manifests of equal disks, whenever and wherever they were made."""
        whole = xxhash.xxh3_128(f"{VERSION} {ALGORITHM} {EXTENT} {self.capacity}\n".encode())
        whole.update(self.present)
        whole.update(self.digests)
        return whole.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "algorithm": ALGORITHM,
            "extent_size": EXTENT,
            "disk": self.disk,
            "capacity": self.capacity,
            "data_bytes": self.data_bytes,
            "wire_bytes": self.wire_bytes,
            "created": self.created.isoformat(),
            "digest": self.digest,
            "present": base64.b64encode(self.present).decode(),
            "digests": base64.b64encode(self.digests).decode(),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Manifest:
        """Raises InvalidRequest for what is malformed, of another version, or does not match its own digest."""
        try:
            if (data["version"], data["algorithm"], data["extent_size"]) != (VERSION, ALGORITHM, EXTENT):
                raise InvalidRequest("the manifest is of another version", "Use the version of vmferry that wrote it.")
            manifest = cls(
                disk=str(data["disk"]),
                capacity=int(data["capacity"]),
                present=base64.b64decode(data["present"], validate=True),
                digests=base64.b64decode(data["digests"], validate=True),
                data_bytes=int(data["data_bytes"]),
                wire_bytes=int(data["wire_bytes"]),
                created=datetime.fromisoformat(data["created"]),
            )
            said = data["digest"]
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise InvalidRequest(f"not a manifest: {error}") from error
        count = -(-manifest.capacity // EXTENT)
        ones = int.from_bytes(manifest.present, "little")
        if (
            manifest.capacity < 0
            or len(manifest.present) != -(-count // 8)
            or ones >> count
            or len(manifest.digests) != ones.bit_count() * DIGEST_BYTES
            or manifest.digest != said
        ):
            raise InvalidRequest("the manifest is damaged", "Use an undamaged copy, or copy the disk again.")
        return manifest

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all, and on the disk when this returns."""
        part = path.with_name(path.name + ".part")
        with part.open("w") as file:
            json.dump(self.to_dict(), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Raises InvalidRequest as `from_dict` does, and for what is no JSON."""
        try:
            return cls.from_dict(json.loads(path.read_bytes()))
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{path} is no manifest: {error}") from error
