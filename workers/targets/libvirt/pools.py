"""The pool's volumes: made and removed through libvirt, listed as the pool's folder has them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt
from defusedxml.ElementTree import fromstring

from app.domain.errors import InvalidRequest, NoSpace, TargetDenied
from app.domain.models import ImageOptions, Pool
from app.ports.source import CancelCheck
from converters import qcow2
from workers.room import Room, room_at
from workers.targets.libvirt.connection import Connection

T = TypeVar("T")

FOLDER_POOLS = ("dir", "fs", "netfs")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


def check_name(name: str) -> str:
    """A name that is one plain file name for every tool. Raises InvalidRequest."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} is not a plain name of letters, digits, dot, hyphen and underscore")
    return name


def describe(pool: Any) -> Pool:
    """A libvirt pool as ours; one that is not active has no sizes."""
    root = fromstring(pool.XMLDesc())
    kind, path = root.get("type", ""), root.findtext("target/path", "")
    active = bool(pool.isActive())
    _, capacity, _, free = pool.info()  # as of its last refresh
    if active and kind in FOLDER_POOLS:
        capacity, free = _room(path) or (capacity, free)
    return Pool(
        name=pool.name(),
        type=kind,
        path=path,
        active=active,
        capacity_bytes=capacity,
        free_bytes=free,
        direct_io=takes_direct_io(path),
    )


def _room(path: str) -> Room | None:
    try:
        return room_at(Path(path))
    except OSError:  # not ours to enter
        return None


def takes_direct_io(path: str) -> bool:
    """False where the file system says no to it; one that cannot be asked is taken at its best."""
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o600))
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


class Volumes:
    """The volumes of one pool, by name."""

    def __init__(self, connection: Connection, pool: str) -> None:
        self._connection = connection
        self._pool = pool

    def create(self, name: str, capacity_bytes: int, image: ImageOptions, cancel: CancelCheck | None) -> Path:
        """libvirt makes a plain volume of the right owner; qemu-img makes of it what libvirt cannot."""
        self.delete(name)

        def make(pool: Any) -> Path:
            return Path(pool.createXML(_volume_xml(name, capacity_bytes, image.format), 0).path())

        try:
            path = self._with_pool(make)
        except NoSpace as error:  # libvirt does not say where
            raise NoSpace(error.message, error.remedy, path=str(self._folder() / name)) from error
        try:
            qcow2.create(path, capacity_bytes, image, cancel=cancel)  # libvirt rounds up: a disk may end on any sector
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def path(self, name: str) -> Path | None:
        path = self._folder() / check_name(name)
        return path if path.exists() else None

    def names(self, prefix: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._folder()) if entry.name.startswith(prefix))
        except PermissionError as error:
            raise TargetDenied(
                f"the folder of pool {self._pool} cannot be read: {error}",
                "The worker writes disks as files: let its user read and write that folder.",
            ) from error

    def delete(self, name: str) -> None:
        """A file that came without libvirt, too: an overlay, or what a killed worker left."""
        check_name(name)
        self._with_pool(lambda pool: _delete(pool, name))
        (self._folder() / name).unlink(missing_ok=True)

    def _folder(self) -> Path:
        return self._with_pool(lambda pool: Path(describe(pool).path))

    def _with_pool(self, action: Callable[[Any], T]) -> T:
        def act(connection: Any) -> T:
            pool = connection.storagePoolLookupByName(self._pool)
            facts = describe(pool)
            if facts.type not in FOLDER_POOLS:
                raise TargetDenied(
                    f"pool {self._pool} is of type {facts.type}; disks are written as files",
                    f"Use a pool of type {', '.join(FOLDER_POOLS)}.",
                )
            if not facts.active:
                raise TargetDenied(f"pool {self._pool} is not active", f"virsh pool-start {self._pool}")
            return action(pool)

        return self._connection.call(act)


def _delete(pool: Any, name: str) -> None:
    """What libvirt knows of. Without a refresh: the pool refuses that while any volume in it is made or copied."""
    try:
        volume = pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return
    volume.delete(0)


def _volume_xml(name: str, capacity_bytes: int, format: Literal["qcow2", "raw"]) -> str:
    """An empty image that the worker's user may write; libvirt gives it to QEMU's user when the domain starts."""
    volume = Element("volume")
    SubElement(volume, "name").text = name
    SubElement(volume, "capacity", unit="bytes").text = str(capacity_bytes)
    SubElement(volume, "allocation", unit="bytes").text = "0"
    target = SubElement(volume, "target")
    SubElement(target, "format", type=format)
    if format == "qcow2":
        SubElement(target, "compat").text = "1.1"
    permissions = SubElement(target, "permissions")
    SubElement(permissions, "mode").text = "0600"
    SubElement(permissions, "owner").text = str(os.geteuid())
    SubElement(permissions, "group").text = str(os.getegid())
    return tostring(volume, encoding="unicode")
