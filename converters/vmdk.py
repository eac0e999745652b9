"""The header and the descriptor of a VMDK, read as hostile input.

Layout: VMware's "Virtual Disk Format 5.0". Everything that is not known to be harmless is refused with UnsafeImage:
qemu would follow an extent named /etc/shadow, ../x or a device, and a parent's name, wherever it leads.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from app.domain.errors import UnsafeImage
from converters.folder import is_plain
from converters.vmware_text import decode

SECTOR = 512
GD_AT_END = (1 << 64) - 1  # header.directory of a true stream: the tables follow the data, the footer has the truth
TABLE_ENTRIES = 512  # grains in a grain table
MAX_CAPACITY = 64 << 40  # 62 TiB is vSphere's largest disk
MAX_DESCRIPTOR = 64 << 10
MAX_DESCRIPTOR_FILE = 1 << 20  # on its own: 62 TiB in extents of 2 GiB are 32 000 lines, which nobody has seen
MAX_OVERHEAD = 2 << 20  # header and descriptor; real ones take 64 KiB
MAX_LEADING_TABLES = 320 << 20  # with tables in front: a disk of 2 TiB, tables twice
MAX_SPARSE_OVERHEAD = 17 << 30  # the largest disk in a file that is read in any order, tables twice

CREATE_TYPES = {  # the type of the extents, and whether there may be several
    "streamOptimized": ("SPARSE", False),
    "monolithicSparse": ("SPARSE", False),
    "monolithicFlat": ("FLAT", False),
    "twoGbMaxExtentSparse": ("SPARSE", True),
    "twoGbMaxExtentFlat": ("FLAT", True),
    "vmfs": ("VMFS", False),
    "vmfsSparse": ("VMFSSPARSE", False),
    "seSparse": ("SESPARSE", False),
}
MAY_HAVE_PARENT = frozenset({"SPARSE", "VMFSSPARSE", "SESPARSE"})
NO_PARENT = "ffffffff"

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_NEWLINES = b"\n \r\n"  # damaged when a file went through a text-mode transfer
_NEWLINE_TEST, _COMPRESSED, _MARKERS = 1, 1 << 16, 1 << 17
_COPY, _ZEROS = 2, 4  # the tables are there twice; an entry of 1 stands for zeros
_KNOWN_FLAGS = _NEWLINE_TEST | _COPY | _ZEROS | _COMPRESSED | _MARKERS
_DEFLATE = 1

_ENTRY = re.compile(r'([A-Za-z][\w.]*)\s*=\s*(?:"([^"]*)"|([^"\s]*))')
_CONTENT_ID = re.compile(r"[0-9a-f]{1,8}")
_EXTENT = re.compile(r'(RW|RDONLY)\s+(\d{1,18})\s+([A-Z]+)\s+"([^"]*)"(?:\s+(\d{1,18}))?')


def refuse(reason: str, remedy: str = "") -> UnsafeImage:
    """The error for an image that may not go on, to be raised by the caller."""
    return UnsafeImage(
        f"VMDK refused: {reason}",
        remedy or "Export or copy the disk again; if it is refused again, do not trust its origin.",
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
    """The text part of a VMDK: all names in it are plain file names.

    The disk holds what differs from its `parent`, where it has one, as it was when its content was `parent_content_id`.
    """

    create_type: str
    content_id: str
    extents: tuple[Extent, ...]
    parent: str = ""
    parent_content_id: str = NO_PARENT

    @property
    def sectors(self) -> int:
        return sum(extent.sectors for extent in self.extents)


@dataclass(frozen=True)
class SparseHeader:
    """The first sector of a sparse extent of a hosted product, and a stream's footer. Places and sizes are in sectors.

    `copy` is a second directory, or 0. `unclean`: whoever had the disk open did not close it.
    """

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_sectors: int
    directory: int
    overhead: int
    copy: int = 0
    unclean: bool = False

    @classmethod
    def parse(cls, data: bytes, *, compressed: bool | None = True) -> SparseHeader:
        """Read 512 bytes. Raises UnsafeImage for anything that no writer of streamOptimized disks writes, or, where
        it shall not be `compressed`, no writer of disks that are read and written in any order. None: either.
        """
        if len(data) != SECTOR:
            raise refuse(f"a header of {len(data)} bytes")
        magic, version, flags, capacity, grain, descriptor, length, entries, copy, directory, overhead, *rest = (
            _HEADER.unpack_from(data)
        )
        unclean, newlines, compression = rest
        if magic != b"KDMV":
            raise refuse("no VMDK signature")
        if not 1 <= version <= 3:
            raise refuse(f"version {version}")
        if compressed is None:
            compressed = bool(flags & _COMPRESSED)
        wanted = _COMPRESSED | _MARKERS if compressed else 0
        if flags & ~_KNOWN_FLAGS or flags & (_COMPRESSED | _MARKERS) != wanted:
            raise refuse(f"flags {flags:#x} are not those of a {'streamOptimized' if compressed else 'sparse'} disk")
        if flags & _NEWLINE_TEST and newlines != _NEWLINES:
            raise refuse("its newlines were changed on the way")
        if compression != (_DEFLATE if compressed else 0):
            raise refuse(f"compression {compression}")
        if unclean > 1:
            raise refuse(f"shutdown mark {unclean}")
        if not 0 < capacity <= MAX_CAPACITY // SECTOR:
            raise refuse(f"capacity of {capacity} sectors")
        if not 8 <= grain <= 128 or grain & (grain - 1):
            raise refuse(f"grains of {grain} sectors")
        if entries != TABLE_ENTRIES:
            raise refuse(f"grain tables of {entries} entries")
        limit = MAX_OVERHEAD if directory == GD_AT_END else MAX_LEADING_TABLES if compressed else MAX_SPARSE_OVERHEAD
        if not 1 <= overhead <= limit // SECTOR:
            raise refuse(f"overhead of {overhead} sectors")
        if not directory or (directory == GD_AT_END and not compressed):
            raise refuse("no grain directory")
        if flags & _COPY and not copy:
            raise refuse("no second grain directory")
        copy = copy if flags & _COPY else 0
        return cls(version, flags, capacity, grain, descriptor, length, directory, overhead, copy, bool(unclean))

    @property
    def capacity_bytes(self) -> int:
        return self.capacity * SECTOR

    @property
    def grain_bytes(self) -> int:
        return self.grain * SECTOR

    @property
    def compressed(self) -> bool:
        return bool(self.flags & _COMPRESSED)

    @property
    def zeros(self) -> bool:
        """Whether a table's entry of 1 stands for zeros."""
        return bool(self.flags & _ZEROS)

    @property
    def tables(self) -> int:
        """How many grain tables cover the disk."""
        return -(-self.capacity // (self.grain * TABLE_ENTRIES))


def parse_descriptor(data: bytes, *, limit: int = MAX_DESCRIPTOR) -> Descriptor:
    """Read the descriptor, padded with NULs or not.

    Raises UnsafeImage for what is malformed or ambiguous, is encrypted, or names a file in another folder.
    """
    text, _, padding = data.partition(b"\0")
    if not text.endswith(padding.strip(b"\0")):  # a shorter CID, put in by QEMU, lets the old end lie
        raise refuse("bytes after the descriptor's end")
    if len(text) > limit:
        raise refuse(f"a descriptor of {len(text)} bytes")
    entries: dict[str, str] = {}
    extents: list[Extent] = []
    lines = [line.strip() for line in decode(text).split("\n")]
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
    if any("encrypt" in key or "keysafe" in key for key in entries):
        raise refuse("it is encrypted", "Decrypt the disk where it runs, then copy it again.")
    create_type = entries.get("createtype", "")
    if create_type not in CREATE_TYPES:
        raise refuse(f"disk type {create_type[:40]!r}")
    kind = _check_extents(create_type, extents)
    parent, parent_content_id = _parent(kind, entries)
    return Descriptor(create_type, entries.get("cid", "").lower(), tuple(extents), parent, parent_content_id)


def _extent(_access: str, sectors: str, kind: str, name: str, offset: str | None) -> Extent:
    if not is_plain(name):
        raise refuse(f"an extent outside its folder: {name[:80]!r}")
    if not 0 < int(sectors) <= MAX_CAPACITY // SECTOR:
        raise refuse(f"an extent of {sectors} sectors")
    return Extent(int(sectors), kind, name, int(offset or 0))


def _check_extents(create_type: str, extents: list[Extent]) -> str:
    """The type that all extents have."""
    kind, several = CREATE_TYPES[create_type]
    for extent in extents:
        if extent.type != kind:
            raise refuse(f"an extent of type {extent.type[:20]} in a disk of type {create_type}")
        if extent.offset and kind not in ("FLAT", "VMFS"):
            raise refuse(f"an offset in the sparse extent {extent.name!r}")
    if not extents:
        raise refuse("no extent")
    if len(extents) > 1 and not several:
        raise refuse(f"{len(extents)} extents where one is due")
    if len({extent.name for extent in extents}) < len(extents):
        raise refuse("two extents in one file")
    if sum(extent.sectors for extent in extents) > MAX_CAPACITY // SECTOR:
        raise refuse("its extents are larger than any disk")
    return kind


def _parent(kind: str, entries: dict[str, str]) -> tuple[str, str]:
    name, content_id = entries.get("parentfilenamehint"), entries.get("parentcid", "").lower()
    if content_id == NO_PARENT and name is None:
        return "", NO_PARENT
    if name is None or not _CONTENT_ID.fullmatch(content_id) or content_id == NO_PARENT:
        raise refuse(
            "it depends on a parent disk that it does not name" if name is None else "a parent without its CID"
        )
    if kind not in MAY_HAVE_PARENT:
        raise refuse("it is whole, and names a parent disk")
    if not is_plain(name):
        raise refuse(
            f"its parent disk is in another folder: {name[:80]!r}",
            "Consolidate its snapshots, or make a full clone of the VM, where it runs; then copy that.",
        )
    return name, content_id
