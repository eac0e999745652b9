"""Where the packages of a source are, and which there are: one file, a folder of some, or one URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Protocol

from app.domain.errors import InvalidRequest, SourceDenied
from app.domain.models import Check, Concern, SourceSpec
from app.domain.places import WebPlace
from converters.package_names import is_plain
from workers.sources.ova.archive import Archive, ForwardArchive
from workers.sources.ova.folder import FolderContents, LocalFiles, WebFiles
from workers.sources.ova.local import LocalFolder
from workers.sources.ova.storage import Contents
from workers.sources.ova.web import WebSite
from workers.sources.ova.webfile import WebFile

MAX_PACKAGES = 1000


class Shelf(Protocol):
    """Errors as Source's."""

    def names(self) -> list[str]:
        """Of the packages, as `open` takes them."""
        ...

    def open(self, name: str) -> Contents: ...
    def place(self) -> str:
        """The same for two registrations of one place."""
        ...

    def now(self) -> datetime:
        """By the clock that files are dated with."""
        ...

    def checks(self) -> Iterator[Check]:
        """What can be said before a package is opened. The first that is not ok is the last."""
        ...

    def concerns(self) -> tuple[Concern, ...]:
        """What goes for every VM from there."""
        ...


class LocalShelf:
    def __init__(self, path: PurePosixPath) -> None:
        self._path = str(path)

    def names(self) -> list[str]:
        if _kind(self._path):
            return [os.path.basename(self._path)]
        folder = LocalFolder(self._path)
        try:
            found = list(self._packages(folder))
        finally:
            folder.close()
        if len(found) > MAX_PACKAGES:
            raise SourceDenied(f"{self._path} has {len(found)} packages", "Spread them over several folders.")
        return found

    def open(self, name: str) -> Contents:
        parent = os.path.dirname(self._path) if _kind(self._path) else self._path
        folder = LocalFolder(parent)
        inside, _, file = name.rpartition("/")
        try:
            if inside:
                outer, folder = folder, LocalFolder(inside, folder)
                outer.close()
            opened = folder.open(file) if _kind(file) == ".ova" else None
        except BaseException:
            folder.close()
            raise
        if opened is None:
            return FolderContents(LocalFiles(folder), file)
        return Archive(
            opened,
            fresh=opened.fresh,
            changed_since=lambda when: folder.modified(file) > when,
            close=folder.close,
        )

    def place(self) -> str:
        return os.path.realpath(self._path)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def checks(self) -> Iterator[Check]:
        found = self.names()
        yield Check(
            name="reachable",
            ok=bool(found),
            detail=f"{self._path}: {len(found)} package{'' if len(found) == 1 else 's'}",
            remedy="" if found else "Put .ova files, or folders that have an .ovf each, into it.",
        )

    def concerns(self) -> tuple[Concern, ...]:
        return ()

    @staticmethod
    def _packages(folder: LocalFolder) -> Iterator[str]:
        """Archives and descriptors in the folder, and descriptors in its own folders; nothing deeper."""
        for name in folder.names():
            if not is_plain(name):
                continue
            if _kind(name):
                yield name
            elif folder.is_folder(name):
                inner = LocalFolder(name, folder)
                try:
                    yield from (f"{name}/{file}" for file in inner.names() if _kind(file) == ".ovf" and is_plain(file))
                finally:
                    inner.close()


class WebShelf:
    def __init__(self, spec: SourceSpec, place: WebPlace) -> None:
        """Raises InvalidRequest for a URL that is no package's."""
        if not _kind(place.path):
            raise InvalidRequest(f"{place} is neither an .ova nor an .ovf", "Give the URL of the file itself.")
        self._site = WebSite(spec, place)
        self._url = place

    def names(self) -> list[str]:
        return [self._url.path.rpartition("/")[2]]

    def open(self, name: str) -> Contents:
        base, _, file = self._url.path.rpartition("/")
        if _kind(file) == ".ovf":
            return FolderContents(WebFiles(self._site, f"{base}/"), file)
        storage = WebFile(self._site, self._url.path)
        if storage.ranges:
            return Archive(storage, fresh=lambda: True, changed_since=self._changed_since, close=storage.close)
        return ForwardArchive(storage, changed_since=self._changed_since)

    def place(self) -> str:
        return str(self._url)

    def now(self) -> datetime:
        return WebFile(self._site, self._url.path).date or datetime.now(UTC)

    def checks(self) -> Iterator[Check]:
        yield Check(name="reachable", ok=True, detail=f"{self._site.peer()} port {self._site.endpoint.port} answers")
        yield Check(name="certificate", ok=True, detail=self._certificate())
        file = WebFile(self._site, self._url.path)
        detail = (
            "the server honours byte ranges"
            if file.ranges
            else "the server does not honour byte ranges: each disk of an OVA is read from the package's beginning"
        )
        yield Check(name="ranges", ok=True, detail=detail)

    def concerns(self) -> tuple[Concern, ...]:
        if self._url.secure:
            return ()
        return (
            Concern(
                code="package_over_http",
                severity="warning",
                cause=f"{self._url} comes over plain http: whoever is on the way can change it, its manifest included",
                remedy="Use https.",
            ),
        )

    def _certificate(self) -> str:
        if not self._url.secure:
            return "none: plain http, which anyone on the way can change"
        return f"{self._site.trust}; SHA-256 {self._site.certificate()}"

    def _changed_since(self, when: datetime) -> bool:
        # the header counts whole seconds: a file of the same second may have come after
        modified = WebFile(self._site, self._url.path).modified
        return modified is not None and modified + timedelta(seconds=1) > when


def _kind(name: str) -> str:
    """ ".ova", ".ovf" or nothing."""
    suffix = name[-4:].lower()
    return suffix if suffix in (".ova", ".ovf") else ""
