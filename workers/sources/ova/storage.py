"""What a package is read from: single files, here or on a web server, and the files that a package consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from app.ports.disks import ByteStream
from converters.package_digests import Digest


class Interruptible(ByteStream, Protocol):
    def interrupt(self) -> None:
        """Let a read that another thread is blocked in fail."""
        ...


class Storage(Protocol):
    """One file, held open. For any thread."""

    @property
    def name(self) -> str:
        """For messages: a path or a URL."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes; None where a server does not say."""
        ...

    @property
    def stamp(self) -> str:
        """Changes whenever the content may have."""
        ...

    @property
    def ranges(self) -> bool:
        """Whether it can be read from anywhere; else only from its start."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, where it has ranges. Raises TransferInterrupted, SourceChanged, SourceUnavailable."""
        ...

    def stream(self, offset: int = 0, length: int | None = None) -> Interruptible:
        """Bytes from `offset` on, as many or all; never fewer without an error. Raises as `read` does."""
        ...

    def close(self) -> None: ...


class Contents(Protocol):
    """The files of one package. Names are plain; one that is not there raises UnsafeImage."""

    @property
    def descriptor(self) -> str:
        """The name of the .ovf."""
        ...

    @property
    def certificate(self) -> bool:
        """Whether it is signed (.cert)."""
        ...

    @property
    def ranges(self) -> bool: ...
    def read_descriptor(self) -> bytes: ...
    def digests(self) -> Mapping[str, Digest] | None:
        """What its manifest says; None when there is no manifest, or when `manifest_is_ahead`."""
        ...

    @property
    def manifest_is_ahead(self) -> bool:
        """Whether a manifest may still come behind what could be read yet."""
        ...

    def size(self, name: str) -> int | None: ...
    def stamp(self, name: str) -> str: ...
    def open(self, name: str) -> Interruptible: ...
    def fresh(self) -> bool:
        """Whether it is still what was opened, as far as a look without reading tells."""
        ...

    def changed_since(self, names: Sequence[str], when: datetime) -> bool:
        """Whether the descriptor or one of the files was written after `when`, on the storage's clock."""
        ...

    def close(self) -> None: ...
