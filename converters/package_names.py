"""Which names the files of an OVF package may have, and how a package is refused."""

from __future__ import annotations

import re

from app.domain.errors import PermanentError, UnsafeImage

MAX_NAME_BYTES = 255

_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]+")  # a plain name: no folder, and nothing that spoils a terminal


def refuse(what: str, reason: str) -> UnsafeImage:
    """The error for a package, or a file of one, that may not go on; to be raised by the caller."""
    return UnsafeImage(
        f"{what} refused: {reason}",
        "Export or copy the package again; if it is refused again, do not trust its origin.",
    )


def unsupported(reason: str, remedy: str) -> PermanentError:
    """The error for an honest package with something that vmferry does not read."""
    return PermanentError(reason, remedy, code="unsupported_package")


def is_plain(name: str) -> bool:
    """Whether it names a file beside the descriptor, and nothing else."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return bool(_NAME.fullmatch(name)) and name not in (".", "..") and size <= MAX_NAME_BYTES
