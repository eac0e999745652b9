"""The Contents of an OVF folder: a descriptor and its files beside each other, here or on a web server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from app.domain.errors import NotFound, SourceDenied
from converters import ovf_xml, package_digests
from converters.package_digests import Digest
from converters.package_names import refuse
from workers.sources.ova.local import LocalFile, LocalFolder
from workers.sources.ova.storage import Interruptible, Storage
from workers.sources.ova.web import WebSite
from workers.sources.ova.webfile import WebFile


class Files(Protocol):
    """Where the files are. Raises NotFound for one that is not there."""

    def open(self, name: str) -> Storage: ...
    def fresh(self, opened: Storage) -> bool: ...
    def changed_since(self, name: str, when: datetime) -> bool: ...
    def close(self) -> None: ...


class LocalFiles:
    def __init__(self, folder: LocalFolder) -> None:
        self._folder = folder

    def open(self, name: str) -> LocalFile:
        return self._folder.open(name)

    def fresh(self, opened: Storage) -> bool:
        assert isinstance(opened, LocalFile)
        return opened.fresh()

    def changed_since(self, name: str, when: datetime) -> bool:
        return self._folder.modified(name) > when

    def close(self) -> None:
        self._folder.close()


class WebFiles:
    def __init__(self, site: WebSite, base: str) -> None:
        """`base` is the path of the folder, with its slash."""
        self._site = site
        self._base = base

    def open(self, name: str) -> WebFile:
        return WebFile(self._site, self._base + name.replace("%", "%25").replace("?", "%3F").replace("#", "%23"))

    def fresh(self, opened: Storage) -> bool:
        """Each later answer of the server is held against the first one; there is no need to ask in between."""
        return True

    def changed_since(self, name: str, when: datetime) -> bool:
        # the header counts whole seconds: a file of the same second may have come after
        modified = self.open(name).modified
        return modified is not None and modified + timedelta(seconds=1) > when

    def close(self) -> None:
        """Each request had a connection of its own."""


class FolderContents:
    """Contents, and the owner of `files`."""

    def __init__(self, files: Files, descriptor: str) -> None:
        self.descriptor = descriptor
        self.manifest_is_ahead = False
        self._files = files
        self._opened: dict[str, Storage] = {}
        try:
            stem = descriptor[: -len(".ovf")]
            self.certificate = self._is_signed(f"{stem}.cert")
            self._manifest = f"{stem}.mf" if self._has(f"{stem}.mf") else ""
            self.ranges = self._storage(descriptor).ranges
        except BaseException:
            self.close()
            raise

    def read_descriptor(self) -> bytes:
        return _read(self._storage(self.descriptor), ovf_xml.MAX_BYTES)

    def digests(self) -> Mapping[str, Digest] | None:
        if not self._manifest:
            return None
        digests = package_digests.parse(_read(self._storage(self._manifest), package_digests.MAX_BYTES))
        for name in digests:
            if name not in self._opened and not self._has(name):
                raise refuse("manifest", f"{name!r} is not in the package")
        return digests

    def size(self, name: str) -> int | None:
        return self._storage(name).size

    def stamp(self, name: str) -> str:
        return self._storage(name).stamp

    def open(self, name: str) -> Interruptible:
        storage = self._storage(name)
        if storage.size == 0:
            raise refuse(name, "it is empty")
        return storage.stream()

    def fresh(self) -> bool:
        return all(self._files.fresh(storage) for storage in self._opened.values())

    def changed_since(self, names: Sequence[str], when: datetime) -> bool:
        return any(self._files.changed_since(name, when) for name in (self.descriptor, *names))

    def close(self) -> None:
        for storage in self._opened.values():
            storage.close()
        self._opened.clear()
        self._files.close()

    def _storage(self, name: str) -> Storage:
        if name not in self._opened:
            try:
                self._opened[name] = self._files.open(name)
            except NotFound as error:
                if name == self.descriptor:
                    raise
                raise refuse("package", f"{name!r} is not in it") from error
        return self._opened[name]

    def _is_signed(self, name: str) -> bool:
        try:
            return self._has(name)
        except SourceDenied:  # as some servers say for what is not there; nothing hangs on it
            return False

    def _has(self, name: str) -> bool:
        try:
            self._files.open(name).close()
        except NotFound:
            return False
        return True


def _read(storage: Storage, limit: int) -> bytes:
    """A small file, whole."""
    if storage.size is not None and storage.size > limit:
        raise refuse(storage.name, f"it has {storage.size} bytes")
    stream = storage.stream()
    data = bytearray()
    buffer = memoryview(bytearray(64 << 10))
    try:
        while count := stream.readinto(buffer):
            data += buffer[:count]
            if len(data) > limit:
                raise refuse(storage.name, f"it has more than {limit} bytes")
    finally:
        stream.close()
    return bytes(data)
