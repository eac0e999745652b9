"""What is known of a disk's extents: one hash for each MiB, kept in memory that only data takes."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from datetime import UTC, datetime

from workers.transfer.manifest import DIGEST_BYTES, EXTENT, Manifest, zero_digest


@dataclass(frozen=True, slots=True)
class Extent:
    """One extent as it was read: guest bytes that are data, and its hash (None: all zeros)."""

    index: int
    data_bytes: int
    digest: bytes | None


class ExtentTable:
    """Extents by index, in any order. Threads may look up while one thread adds."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = -(-capacity // EXTENT)
        self.data_bytes = 0
        self.known_bytes = 0  # guest bytes of all extents that are known
        self._known = bytearray(-(-self.count // 8))
        self._present = bytearray(len(self._known))
        # anonymous memory: a page without a hash costs nothing
        self._digests = mmap.mmap(-1, max(1, self.count) * DIGEST_BYTES)

    def size(self, index: int) -> int:
        """Guest bytes of an extent: the last one may be short."""
        return min(EXTENT, self.capacity - index * EXTENT)

    def known(self, index: int) -> bool:
        return bool(self._known[index >> 3] >> (index & 7) & 1)

    def digest(self, index: int) -> bytes | None:
        """The hash of a known extent; None when it is all zeros."""
        if not self._present[index >> 3] >> (index & 7) & 1:
            return None
        return self._digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]

    def add(self, extent: Extent) -> None:
        """Once for each index; what is known already is left alone."""
        index = extent.index
        if self.known(index):
            return
        self._known[index >> 3] |= 1 << (index & 7)
        self.known_bytes += self.size(index)
        self.data_bytes += extent.data_bytes
        if extent.digest is not None and extent.digest != zero_digest(self.size(index)):
            self._present[index >> 3] |= 1 << (index & 7)
            self._digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES] = extent.digest

    def manifest(self, disk: str, *, wire_bytes: int) -> Manifest:
        """Of the whole disk: what was never added is zeros."""
        digests = bytearray()
        for byte, bits in enumerate(self._present):
            for bit in range(8) if bits else ():
                if bits >> bit & 1:
                    start = (byte * 8 + bit) * DIGEST_BYTES
                    digests += self._digests[start : start + DIGEST_BYTES]
        return Manifest(
            disk=disk,
            capacity=self.capacity,
            present=bytes(self._present),
            digests=bytes(digests),
            data_bytes=self.data_bytes,
            wire_bytes=wire_bytes,
            created=datetime.now(UTC),
        )
