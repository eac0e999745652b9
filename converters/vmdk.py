"""The header and the descriptor of a VMDK, read as hostile input.

Layout: VMware's "Virtual Disk Format 5.0". Everything that is not known to be harmless is refused with UnsafeImage:
qemu would follow an extent named /etc/shadow, ../x or a device, and a parent's name, wherever it leads.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from app.domain.errors import UnsafeImage

SECTOR = 512
GD_AT_END = (1 << 64) - 1  # header.directory of a true stream: the tables follow the data, the footer has the truth
TABLE_ENTRIES = 512  # grains in a grain table
MAX_CAPACITY = 64 << 40  # 62 TiB is vSphere's largest disk
MAX_DESCRIPTOR = 64 << 10
MAX_OVERHEAD = 2 << 20  # header and descriptor; real ones take 64 KiB
MAX_LEADING_TABLES = 320 << 20  # with tables in front: a disk of 2 TiB, tables twice

CREATE_TYPES = frozenset({"streamOptimized", "monolithicSparse", "monolithicFlat", "vmfs"})
EXTENT_TYPES = frozenset({"SPARSE", "FLAT", "VMFS"})

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_NEWLINES = b"\n \r\n"  # damaged when a file went through a text-mode transfer
_NEWLINE_TEST, _COMPRESSED, _MARKERS = 1, 1 << 16, 1 << 17
_KNOWN_FLAGS = _NEWLINE_TEST | 2 | 4 | _COMPRESSED | _MARKERS  # 2: second copy of the tables, 4: zeroed entries
_DEFLATE = 1

_ENTRY = re.compile(r'([A-Za-z][\w.]*)\s*=\s*(?:"([^"]*)"|([^"\s]*))')
_EXTENT = re.compile(r'(RW|RDONLY)\s+(\d{1,18})\s+([A-Z]+)\s+"([^"]*)"(?:\s+(\d{1,18}))?')
_FILE_NAME = re.compile(r"[^/\\:\x00-\x1f\x7f]+")  # a plain name: no folder, no device, no protocol


def refuse(reason: str) -> UnsafeImage:
    """The error for an image that may not go on, to be raised by the caller."""
    return UnsafeImage(
        f"VMDK refused: {reason}", "Export the disk again; if it is refused again, do not trust its origin."
    )


@dataclass(frozen=True)
class Extent:
    """A line of the descriptor. `sectors` of the disk are in the file `name`, from sector `offset` of it."""

    sectors: int
    type: str
    name: str
    offset: int = 0


@dataclass(frozen=True)
class Descriptor:
    """The text part of a VMDK: names are plain file names, and there is no parent."""

    create_type: str
    content_id: str
    extents: tuple[Extent, ...]

    @property
    def sectors(self) -> int:
        return sum(extent.sectors for extent in self.extents)


@dataclass(frozen=True)
class SparseHeader:
    """The first sector of a compressed sparse extent, and its footer. All places and sizes are in sectors."""

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_sectors: int
    directory: int
    overhead: int

    @classmethod
    def parse(cls, data: bytes) -> SparseHeader:
        """Read 512 bytes. Raises UnsafeImage for anything that no writer of streamOptimized disks writes."""
        if len(data) != SECTOR:
            raise refuse(f"a header of {len(data)} bytes")
        magic, version, flags, capacity, grain, descriptor, length, entries, _, directory, overhead, *rest = (
            _HEADER.unpack_from(data)
        )
        unclean, newlines, compression = rest
        if magic != b"KDMV":
            raise refuse("no VMDK signature")
        if not 1 <= version <= 3:
            raise refuse(f"version {version}")
        if flags & ~_KNOWN_FLAGS or flags & (_COMPRESSED | _MARKERS) != _COMPRESSED | _MARKERS:
            raise refuse(f"flags {flags:#x} are not those of a streamOptimized disk")
        if flags & _NEWLINE_TEST and newlines != _NEWLINES:
            raise refuse("its newlines were changed on the way")
        if compression != _DEFLATE:
            raise refuse(f"compression {compression}")
        if unclean > 1:
            raise refuse(f"shutdown mark {unclean}")
        if not 0 < capacity <= MAX_CAPACITY // SECTOR:
            raise refuse(f"capacity of {capacity} sectors")
        if not 8 <= grain <= 128 or grain & (grain - 1):
            raise refuse(f"grains of {grain} sectors")
        if entries != TABLE_ENTRIES:
            raise refuse(f"grain tables of {entries} entries")
        limit = MAX_OVERHEAD if directory == GD_AT_END else MAX_LEADING_TABLES
        if not 1 <= overhead <= limit // SECTOR:
            raise refuse(f"overhead of {overhead} sectors")
        if not directory:
            raise refuse("no grain directory")
        return cls(version, flags, capacity, grain, descriptor, length, directory, overhead)

    @property
    def capacity_bytes(self) -> int:
        return self.capacity * SECTOR

    @property
    def grain_bytes(self) -> int:
        return self.grain * SECTOR

    @property
    def tables(self) -> int:
        """How many grain tables cover the disk."""
        return -(-self.capacity // (self.grain * TABLE_ENTRIES))


def parse_descriptor(data: bytes) -> Descriptor:
    """Read the descriptor, padded with NULs or not. Raises UnsafeImage for what is malformed, linked or ambiguous."""
    text, _, padding = data.partition(b"\0")
    if padding.strip(b"\0"):
        raise refuse("bytes after the descriptor's end")
    if len(text) > MAX_DESCRIPTOR:
        raise refuse(f"a descriptor of {len(text)} bytes")
    entries: dict[str, str] = {}
    extents: list[Extent] = []
    lines = [line.strip() for line in text.decode(errors="replace").split("\n")]
    if lines[0].lower() != "# disk descriptorfile":
        raise refuse("no descriptor")
    for line in lines:
        if not line or line.startswith("#"):
            continue
        if match := _EXTENT.fullmatch(line):
            extents.append(_extent(*match.groups()))
        elif match := _ENTRY.fullmatch(line):
            key = match[1].lower()
            if key in entries:
                raise refuse(f"two values for {match[1]}")
            entries[key] = match[2] if match[2] is not None else match[3]
        else:
            raise refuse(f"the descriptor's line {line[:80]!r}")
    create_type = entries.get("createtype", "")
    if create_type not in CREATE_TYPES:
        raise refuse(f"disk type {create_type[:40]!r}")
    if entries.get("parentcid", "").lower() != "ffffffff" or "parentfilenamehint" in entries:
        raise refuse("it depends on a parent disk")
    if not extents:
        raise refuse("no extent")
    return Descriptor(create_type, entries.get("cid", "").lower(), tuple(extents))


def _extent(_access: str, sectors: str, kind: str, name: str, offset: str | None) -> Extent:
    if kind not in EXTENT_TYPES:
        raise refuse(f"an extent of type {kind[:20]}")
    if not _FILE_NAME.fullmatch(name) or name in {".", ".."}:
        raise refuse(f"an extent outside its folder: {name[:80]!r}")
    if not 0 < int(sectors) <= MAX_CAPACITY // SECTOR:
        raise refuse(f"an extent of {sectors} sectors")
    return Extent(int(sectors), kind, name, int(offset or 0))
