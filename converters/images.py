"""Any disk image that vmferry reads, by its path or NBD URI: hostile files are parsed before a tool sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from app.domain.errors import InvalidRequest, UnsafeImage
from app.ports.disks import Area, RangeDisk
from converters.folder import File, Folder
from converters.nbd_disk import open_nbd_disk
from converters.nbd_uri import NbdUri, is_nbd_uri
from converters.qcow2 import check_plain
from converters.qemu_nbd import NbdImage, open_nbd
from converters.range_cursor import RangeCursor
from converters.vmdk import MAX_CAPACITY
from converters.vmdk_disk import SPARSE_MAGIC, TEXT_MAGIC, open_vmdk

ImageFormat = Literal["vmdk", "qcow2", "raw"]
QCOW2_MAGIC = b"QFI\xfb"
_PART_MAGICS = (b"COWD", (0xCAFEBABE).to_bytes(8, "little"))


@contextmanager
def open_image(where: str | Path, format: ImageFormat | None = None) -> Iterator[RangeDisk]:
    """Open an image for reading. A path may be a link; what the image itself names is in the folder that it leads to.

    Without a `format` it is a VMDK or a qcow2 by its content. A raw image must be called so: any bytes are one.
    Raises InvalidRequest, UnsafeImage, NotFound, SourceDenied, SourceUnavailable, and of NBD also TransportRefused and
    TransferInterrupted.
    """
    if is_nbd_uri(str(where)):
        if format not in (None, "raw"):
            raise InvalidRequest("an NBD export has no format of its own", "Leave the format out.")
        with open_nbd_disk(NbdUri.parse(str(where))) as disk:
            yield disk
        return
    path = Path(where).resolve()
    with Folder(path.parent) as folder:
        file = folder.open(path.name)
        try:
            found = format or _format_of(file)
            if found == "raw":
                yield RawDisk(file)
            elif found == "qcow2":
                check_plain(path)
                with open_nbd(path) as image:
                    yield ServedImage(image, file)
            else:
                with open_vmdk(folder, path.name) as disk:
                    yield disk
        finally:
            file.close()


class RawDisk:
    """A RangeDisk: the file's bytes are the guest's."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.capacity = _believable(file, file.size)

    @property
    def identity(self) -> str:
        return f"raw {self._file.identity()}"

    def areas(self) -> Iterable[Area]:
        for start, end in self._file.data(0, self.capacity):
            yield Area(start, end - start)

    def open_reader(self) -> RangeCursor:
        return RangeCursor(lambda offset, buffer: self._file.fill(buffer, offset), self.capacity)


class ServedImage:
    """A RangeDisk: an image that qemu-nbd reads for us."""

    def __init__(self, image: NbdImage, file: File) -> None:
        self._image = image
        self._file = file
        self.capacity = _believable(file, image.size)

    @property
    def identity(self) -> str:
        return f"qcow2 {self._file.identity()}"

    def areas(self) -> Iterable[Area]:
        for offset, length, zero in self._image.extents():
            if not zero:
                yield Area(offset, length)

    def open_reader(self) -> RangeCursor:
        def read_at(offset: int, buffer: memoryview) -> None:
            buffer[:] = self._image.read(len(buffer), offset)

        return RangeCursor(read_at, self.capacity)


def _believable(file: File, capacity: int) -> int:
    if not 0 < capacity <= MAX_CAPACITY:
        raise UnsafeImage(f"{file.path} is a disk of {capacity} bytes", "Copy it again, and compare the sizes.")
    return capacity


def _format_of(file: File) -> ImageFormat:
    head = file.read(0, min(file.size, 32))
    if head.startswith(SPARSE_MAGIC) or head.lower().startswith(TEXT_MAGIC):
        return "vmdk"
    if head.startswith(QCOW2_MAGIC):
        return "qcow2"
    if head.startswith(_PART_MAGICS):
        raise UnsafeImage(f"{file.path} is only a part of a VMDK", "Name the small text file that describes the disk.")
    raise UnsafeImage(f"{file.path} is neither a VMDK nor a qcow2", "If it is a raw disk, say so: the format is raw.")
