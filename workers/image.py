"""Composition root of `vmferry image`: the reading, copying and verifying of a job, on files, without a service."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from app.domain.errors import Conflict, InvalidRequest, UnsafeImage
from app.domain.models import ImageOptions
from app.ports.disks import RangeDisk
from converters import qcow2
from converters.images import QCOW2_MAGIC, ImageFormat, open_image
from workers.transfer.copy import Pace, copy_disk, read_again
from workers.transfer.journal import Journal, sync_folder
from workers.transfer.manifest import Manifest
from workers.transfer.verify import VerifyResult, verify_copy


@dataclass(frozen=True)
class ImageFacts:
    """What is seen of an image without believing it. `problems` is empty for one that may be used."""

    capacity: int
    allocated: int  # guest bytes that may hold data
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Converted:
    """Guest bytes written and left out, bytes read from the source, and where the manifest is."""

    manifest: Manifest
    manifest_path: Path


def manifest_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.manifest.json")


def convert(
    source: str,
    target: Path,
    *,
    source_format: ImageFormat | None,
    image: ImageOptions,
    threads: int,
    second_read: Literal["none", "sample", "all"],
    progress: Callable[[str, int, int], None],
) -> Converted:
    """Copy an image, read the copy back and compare, and only then give it its name. Goes on where it was interrupted.

    `target`: a new file, or a block device (raw), which is made empty first. `progress` gets the stage ("copy",
    "verify"), the guest bytes that are done, and of how many. Raises Conflict for a file that is there, and what
    open_image, copy_disk and verify_copy raise.
    """
    device = target.is_block_device()
    if target.exists() and not device:
        raise Conflict(f"{target} exists already", "Remove it, or choose another name.")
    if device and image.format != "raw":
        raise InvalidRequest(f"{target} is a block device", "Write to it as raw: --to-format raw.")
    if not device and not target.parent.is_dir():
        raise InvalidRequest(f"there is no folder {target.parent}", "Make it first.")
    pace = Pace(connections=threads, threads=threads)
    part = target if device else target.with_name(f"{target.name}.part")
    with open_image(source, source_format) as disk, _begun(part, disk, image, device=device) as journal:
        manifest = copy_disk(
            disk,
            part,
            journal,
            image=image,
            pace=pace,
            progress=lambda seen: progress("copy", seen.bytes_done + seen.bytes_skipped, disk.capacity),
            cancel=_go_on,
            name=target.name,
        )
        verify_copy(
            part,
            manifest,
            format=image.format,
            progress=lambda done: progress("verify", done, disk.capacity),
            cancel=_go_on,
            workers=threads,
        )
        if second_read != "none":
            read_again(disk, journal.table, second_read, pace=pace, cancel=_go_on)
    manifest.save(manifest_of(target))
    if not device:
        part.rename(target)
        sync_folder(target.parent)
    journal.path.unlink()
    return Converted(manifest, manifest_of(target))


def check(source: str, source_format: ImageFormat | None) -> ImageFacts:
    """Parse it as hostile input, and let qemu-img look at the tables of a qcow2 that leans on no other file.

    Raises NotFound, InvalidRequest; what is wrong with the image is in the answer.
    """
    try:
        with open_image(source, source_format) as disk:
            allocated = sum(area.length for area in disk.areas())
            facts = ImageFacts(disk.capacity, allocated, ())
    except UnsafeImage as error:
        return ImageFacts(0, 0, (error.message,))
    path = Path(source)
    if source_format in (None, "qcow2") and path.is_file() and _is_qcow2(path):
        found = qcow2.check(path)
        if found.corruptions:
            return replace(facts, problems=(f"{found.corruptions} corruptions in its tables",))
    return facts


def verify(path: Path, manifest_path: Path, *, image_format: Literal["qcow2", "raw"], threads: int) -> VerifyResult:
    """Compare an image with a manifest. Raises CopyMismatch, which names the first offsets that differ."""
    return verify_copy(
        path,
        Manifest.load(manifest_path),
        format=image_format,
        progress=lambda done: None,
        cancel=_go_on,
        workers=threads,
    )


def _begun(part: Path, disk: RangeDisk, image: ImageOptions, *, device: bool) -> Journal:
    """The journal of an interrupted copy of the same source, or a new one beside a new, empty image."""
    path = Path(f"{part.name}.journal") if device else part.with_name(f"{part.name}.journal")
    identity = f"{disk.identity} {image.model_dump_json()}"
    if part.exists() and (journal := Journal.resume(path, identity, disk.capacity)) is not None:
        return journal
    if not device:
        qcow2.create(part, disk.capacity, image)
        os.chmod(part, 0o600)
    return Journal.create(path, identity, disk.capacity)


def _is_qcow2(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(QCOW2_MAGIC)) == QCOW2_MAGIC


def _go_on() -> None:
    """An interrupt from the keyboard ends it; nothing else does."""
