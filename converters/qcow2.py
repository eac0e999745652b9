"""qcow2 and raw images through qemu-img. Formats are always said, never probed: a raw disk can begin like a qcow2.

Paths are made absolute before qemu sees them, so that none is an option or a protocol. Errors of all functions:
NoSpace, ToolFailed, ToolMissing.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from app.domain.errors import NoSpace, ToolFailed, TransientError, UnsafeImage
from app.domain.models import ImageOptions
from app.process import Completed, Limits, read_lines, run

Format = Literal["qcow2", "raw"]

INSPECTION = Limits(address_space=2 << 30, cpu_seconds=60)  # a crafted image can make qemu-img busy for ever
NO_SPACE_TEXTS = ("No space left on device", "Disk quota exceeded")
IN_USE_TEXT = "Is another process using the image"

_HEADER = struct.Struct(">4sIQIIQI")  # magic, version, backing offset, backing length, cluster bits, size, encryption
_FEATURES = struct.Struct(">Q")  # at byte 72, from version 3 on
_EXTERNAL_DATA = 1 << 2
_FIRST_BLOCK = 4096  # qemu-img writes it, as zeros, into every raw file
_L1 = struct.Struct(">IQ")  # at byte 36: entries of the L1 table, and where it is


@dataclass(frozen=True)
class ImageCheck:
    """What `qemu-img check` counted. Leaks waste space; corruptions lose data."""

    corruptions: int
    leaks: int


class Data(NamedTuple):
    """Guest bytes that are no hole. `place`: where they are in the file; None when they are compressed."""

    offset: int
    length: int
    place: int | None


PLAIN = ImageOptions()


def create(path: Path, size: int, image: ImageOptions = PLAIN, *, cancel: Callable[[], None] | None = None) -> None:
    """Make an empty image of `size` bytes; a file that is there is replaced, and keeps its owner and mode."""
    options = []
    if image.format == "qcow2" and image.cluster_kib != PLAIN.cluster_kib:
        options.append(f"cluster_size={image.cluster_kib}K")
    if image.preallocation != "off":
        options.append(f"preallocation={image.preallocation}")
    words = ["-q", "-f", image.format, *(["-o", ",".join(options)] if options else [])]
    _qemu_img("create", path, [*words, "--", str(path.absolute()), str(size)], cancel=cancel)


def create_overlay(path: Path, backing: Path, backing_format: Format) -> None:
    """Make a qcow2 at `path` that keeps the differences to `backing`."""
    words = ["-q", "-f", "qcow2", "-b", str(backing.absolute()), "-F", backing_format, "--", str(path.absolute())]
    _qemu_img("create", path, words)


def commit(overlay: Path, *, cancel: Callable[[], None] | None = None) -> None:
    """Write the overlay's changes into its backing image. The overlay stays as it is: a broken commit is run again."""
    _qemu_img("commit", overlay, ["-q", "-d", "-f", "qcow2", "--", str(overlay.absolute())], cancel=cancel)


def info(path: Path, format: Format = "qcow2") -> dict[str, Any]:
    """qemu-img's own JSON (virtual-size in bytes, …) of an image that `check_plain` accepts, whoever made it."""
    if format == "qcow2":
        check_plain(path)
    return _json("info", path, ["-f", format, "--output=json", "--", str(path.absolute())], limits=INSPECTION)


def check(path: Path, *, cancel: Callable[[], None] | None = None) -> ImageCheck:
    """Count what is wrong with the metadata of a qcow2. It says nothing of the guest's data."""
    words = ["-f", "qcow2", "--output=json", "--", str(path.absolute())]
    report = _json("check", path, words, ok=(0, 2, 3), cancel=cancel)
    return ImageCheck(corruptions=report.get("corruptions", 0), leaks=report.get("leaks", 0))


@contextmanager
def layout(path: Path, format: Format) -> Iterator[Iterator[Data]]:
    """All that is no hole, in order, as QEMU finds it; read while the block lasts."""
    words = ["qemu-img", "map", "-f", format, "--output=json", "--", str(path.absolute())]
    try:
        with read_lines(words) as lines:
            yield _data(lines)
    except ToolFailed as error:
        if known := known_cause(path, error):
            raise known from error
        raise


def _data(lines: Iterator[str]) -> Iterator[Data]:
    """qemu-img prints a list with one item a line."""
    for line in lines:
        if text := line.strip().strip("[],"):
            item = json.loads(text)
            if not item["zero"]:
                yield Data(item["start"], item["length"], item.get("offset"))


def mend(path: Path) -> None:
    """Settle what a crash left undone in the tables of a qcow2 that was being written, and free what nothing uses.

    Raises ToolFailed for tables that QEMU cannot mend.
    """
    words = ["-f", "qcow2", "-r", "all", "--output=json", "--", str(path.absolute())]
    end = _json("check", path, words)["image-end-offset"]
    os.truncate(path, end)


def is_blank(path: Path, format: Format) -> bool:
    """Whether the image itself says that it holds nothing. One that does not say so may still hold only zeros."""
    with path.open("rb") as file:
        if format == "qcow2":
            entries, place = _L1.unpack_from(file.read(80), 36)
            return not any(os.pread(file.fileno(), 8 * entries, place))
        if any(file.read(_FIRST_BLOCK)):
            return False
        try:
            os.lseek(file.fileno(), _FIRST_BLOCK, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
    return False


def check_plain(path: Path, *, backing: Path | None = None) -> None:
    """Read a qcow2's header ourselves: it may lean on no other file but the `backing` that is expected.

    Raises UnsafeImage for another backing file, an external data file, encryption, and what is no qcow2.
    """
    with path.open("rb") as file:
        head = file.read(80)
        if len(head) < 80 or head[:4] != b"QFI\xfb":
            raise UnsafeImage(f"{path} is no qcow2 image")
        _, version, offset, length, _, _, encryption = _HEADER.unpack_from(head)
        if version not in (2, 3) or encryption or length > 1023:
            raise UnsafeImage(f"{path} is encrypted, or a qcow2 of an unknown kind")
        if version == 3 and _FEATURES.unpack_from(head, 72)[0] & _EXTERNAL_DATA:
            raise UnsafeImage(f"{path} keeps its data in another file")
        file.seek(offset)
        name = file.read(length).decode(errors="replace") if offset else None
    if name != (str(backing.absolute()) if backing else None):
        raise UnsafeImage(f"{path} has the backing file {name!r}, expected was {backing}")


def allocated(path: Path) -> int:
    """Bytes that the file takes on its file system."""
    return path.stat().st_blocks * 512


def no_space(path: Path) -> NoSpace:
    """The error for a full file system under `path`, to be raised by the caller."""
    return NoSpace(
        f"no space left for {path}",
        f"Free space on the file system of {path.parent}, or choose another pool.",
        path=str(path),
    )


def _json(command: str, path: Path, words: Sequence[str], **options: Any) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(_qemu_img(command, path, words, **options).stdout)
    return report


def _qemu_img(command: str, path: Path, words: Sequence[str], **options: Any) -> Completed:
    try:
        return run(["qemu-img", command, *words], **options)
    except ToolFailed as error:
        if known := known_cause(path, error):
            raise known from error
        raise


def known_cause(path: Path, error: ToolFailed) -> NoSpace | TransientError | None:
    """What a QEMU tool said, where it has an error of its own."""
    said = error.fields.get("stderr_tail", "")
    if any(text in said for text in NO_SPACE_TEXTS):
        return no_space(path)
    return image_in_use(path) if IN_USE_TEXT in said else None


def image_in_use(path: Path) -> TransientError:
    """The error for an image that another process has locked, to be raised by the caller."""
    return TransientError(f"{path} is in use by another process", "See which: fuser -v on it.", code="image_in_use")
