"""A VMDK of any kind in a folder, with its extents and its chain of parents, read in any order.

Every file is opened by its plain name in that one folder, and parsed here, never by a tool. What is refused, and why:
`converters/vmdk.py` (descriptors), `vmdk_extents.py` (headers), `grain_map.py` (tables).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from app.ports.disks import Area
from converters.folder import File, Folder
from converters.range_cursor import RangeCursor
from converters.vmdk import (
    CREATE_TYPES,
    MAX_DESCRIPTOR,
    MAX_DESCRIPTOR_FILE,
    MAX_OVERHEAD,
    SECTOR,
    Descriptor,
    SparseHeader,
    parse_descriptor,
    refuse,
)
from converters.vmdk import Extent as ExtentLine
from converters.vmdk_extents import (
    NO_DATA,
    ZERO_DATA,
    Extent,
    FlatExtent,
    Scratch,
    Span,
    open_cowd,
    open_hosted,
    open_se_sparse,
)

SPARSE_MAGIC = b"KDMV"
TEXT_MAGIC = b"# disk descriptorfile"
MAX_CHAIN = 64  # VMware allows 32 snapshots
_ZEROS = bytes(1 << 20)


@contextmanager
def open_vmdk(folder: Folder, name: str) -> Iterator[VmdkDisk]:
    """Open a disk and read all of its tables once, so that nothing is read from an image that lies.

    Raises UnsafeImage, and what opening a file raises: NotFound, SourceDenied, SourceUnavailable.
    """
    with VmdkDisk(folder, name) as disk:
        disk.check()
        yield disk


class VmdkDisk:
    """A RangeDisk. Headers and descriptors are read when it is made; `check` reads the tables."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.name = name
        self._files: dict[tuple[int, int], File] = {}
        self._layers: list[_Layer] = []
        with ExitStack() as opened:
            self._folder, self._opened = folder, opened
            wanted, content_id, missing = name, "", ""
            while not self._layers or wanted:
                layer = self._layer(wanted)
                if content_id and not _same(content_id, layer.descriptor.content_id):
                    raise refuse(
                        f"{wanted} was changed after {missing} came to depend on it",
                        "The snapshots do not fit each other any more: take another copy, or a backup.",
                    )
                if self._layers and layer.length != self.capacity:
                    raise refuse(f"{wanted} has {layer.length} bytes, {missing} on top of it {self.capacity}")
                self._layers.append(layer)
                if len(self._layers) > MAX_CHAIN:
                    raise refuse(f"a chain of more than {MAX_CHAIN} disks")
                missing, wanted = wanted, layer.descriptor.parent
                content_id = layer.descriptor.parent_content_id
            self._close = opened.pop_all()

    def __enter__(self) -> VmdkDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Files are closed for all readers."""
        self._close.close()

    @property
    def capacity(self) -> int:
        return self._layers[0].length

    @property
    def is_flat(self) -> bool:
        """Whether every byte of the disk has its place in a file, though not all need be there."""
        return CREATE_TYPES[self._layers[0].descriptor.create_type][0] in ("FLAT", "VMFS")

    @property
    def depth(self) -> int:
        """1 and the number of its parents."""
        return len(self._layers)

    @property
    def files(self) -> list[File]:
        """All that it is made of, descriptors too."""
        return list(self._files.values())

    @property
    def identity(self) -> str:
        """Of all files: name, size, inode, time of the last change; and the content ids."""
        known = [file.identity() for file in self.files] + [layer.descriptor.content_id for layer in self._layers]
        return "vmdk " + hashlib.sha256("\n".join(known).encode()).hexdigest()

    def check(self) -> None:
        """Raises UnsafeImage for tables that no honest writer leaves."""
        for layer in self._layers:
            for extent in layer.extents:
                extent.check()

    def areas(self) -> Iterable[Area]:
        spans: Iterator[Span] = iter(())
        for layer in reversed(self._layers):
            spans = _overlay(layer.spans(), spans)
        start = end = -1
        for span in spans:
            if span.zeros:
                continue
            if span.start != end:
                if end > start:
                    yield Area(start, end - start)
                start = span.start
            end = span.end
        if end > start:
            yield Area(start, end - start)

    def open_reader(self) -> RangeCursor:
        return RangeCursor(partial(self._read, Scratch()), self.capacity)

    def _read(self, scratch: Scratch, offset: int, buffer: memoryview) -> None:
        self._fill(0, scratch, offset, buffer)

    def _fill(self, depth: int, scratch: Scratch, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from a layer, and from those below it where it has nothing."""
        layer = self._layers[depth]
        done, length = 0, len(buffer)
        while done < length:
            base, extent = layer.at(offset + done)
            inside = offset + done - base
            for size, place in extent.look(inside, min(length - done, extent.length - inside), scratch):
                part = buffer[done : done + size]
                if place >= 0:
                    extent.fill(inside, place, part, scratch)
                elif place == NO_DATA and depth + 1 < len(self._layers):
                    self._fill(depth + 1, scratch, offset + done, part)
                else:
                    assert place in (NO_DATA, ZERO_DATA)
                    _wipe(part)
                done += size
                inside += size

    def _layer(self, name: str) -> _Layer:
        file = self._open(name)
        head = file.read(0, min(file.size, SECTOR))
        if head[:4] == SPARSE_MAGIC:
            return self._single(file, head)
        if not head.lower().startswith(TEXT_MAGIC):
            raise refuse(f"{name} is no VMDK descriptor, nor a sparse disk with one in it")
        if file.size > MAX_DESCRIPTOR_FILE:
            raise refuse(f"{name}: a descriptor of {file.size} bytes")
        descriptor = parse_descriptor(file.read(0, file.size), limit=MAX_DESCRIPTOR_FILE)
        if descriptor.create_type in ("streamOptimized", "monolithicSparse"):
            raise refuse(f"{name}: the descriptor of a disk of type {descriptor.create_type} is a file of its own")
        return _Layer(descriptor, [self._extent(line) for line in descriptor.extents])

    def _single(self, file: File, head: bytes) -> _Layer:
        """A file that is descriptor and extent: the name that it gives itself may be an old one."""
        header = SparseHeader.parse(head, compressed=None)
        size = header.descriptor_sectors * SECTOR
        if not 0 < size <= MAX_DESCRIPTOR or not header.descriptor:
            raise refuse(f"{file.name} has no descriptor: it is a part of a disk", "Name the disk's descriptor.")
        if header.descriptor * SECTOR > MAX_OVERHEAD or header.descriptor * SECTOR + size > file.size:
            raise refuse(f"{file.name} has its descriptor behind its tables")
        descriptor = parse_descriptor(file.read(header.descriptor * SECTOR, size))
        if descriptor.create_type != ("streamOptimized" if header.compressed else "monolithicSparse"):
            raise refuse(f"{file.name}: type {descriptor.create_type} in a sparse file")
        if descriptor.sectors != header.capacity:
            raise refuse(f"{descriptor.sectors} sectors in its descriptor and {header.capacity} in its header")
        return _Layer(descriptor, [open_hosted(file, header)])

    def _extent(self, wanted: ExtentLine) -> Extent:
        file = self._open(wanted.name)
        extent: Extent
        match wanted.type:
            case "FLAT" | "VMFS":
                return FlatExtent(file, wanted.sectors, wanted.offset)
            case "SPARSE":
                extent = open_hosted(file, SparseHeader.parse(file.read(0, min(file.size, SECTOR)), compressed=False))
            case "VMFSSPARSE":
                extent = open_cowd(file)
            case _:
                extent = open_se_sparse(file)
        if extent.length != wanted.sectors * SECTOR:
            raise refuse(f"{file.name} has {extent.length} bytes, its descriptor says {wanted.sectors * SECTOR}")
        return extent

    def _open(self, name: str) -> File:
        """Raises UnsafeImage for a file that is in the chain already, under whatever name."""
        file = self._folder.open(name)
        self._opened.callback(file.close)
        if file.inode in self._files:
            raise refuse(f"{name} comes twice in the disk {self.name}")
        self._files[file.inode] = file
        return file


class _Layer:
    """A disk without its parent: its extents, one behind the other."""

    def __init__(self, descriptor: Descriptor, extents: list[Extent]) -> None:
        self.descriptor = descriptor
        self.extents = extents
        self._starts = [0]
        for extent in extents:
            self._starts.append(self._starts[-1] + extent.length)
        self.length = self._starts.pop()

    def at(self, offset: int) -> tuple[int, Extent]:
        """(its start, the extent) in which an offset of the disk is."""
        index = bisect_right(self._starts, offset) - 1
        return self._starts[index], self.extents[index]

    def spans(self) -> Iterator[Span]:
        for base, extent in zip(self._starts, self.extents, strict=True):
            for start, end, zeros in extent.spans():
                yield Span(base + start, base + end, zeros)


def _overlay(upper: Iterator[Span], lower: Iterator[Span]) -> Iterator[Span]:
    """What is seen of two layers: all of the upper one, and of the lower one what is not under it."""
    below = next(lower, None)
    for span in upper:
        while below and below.start < span.start:
            yield below._replace(end=min(below.end, span.start))
            below = below._replace(start=span.start) if below.end > span.start else next(lower, None)
        yield span
        while below and below.end <= span.end:
            below = next(lower, None)
        if below and below.start < span.end:
            below = below._replace(start=span.end)
    if below:
        yield below
        yield from lower


def _same(one: str, other: str) -> bool:
    """Content ids are written with leading zeros and without."""
    return one.lstrip("0") == other.lstrip("0")


def _wipe(buffer: memoryview) -> None:
    for start in range(0, len(buffer), len(_ZEROS)):
        part = buffer[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]
