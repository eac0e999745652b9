"""A guest's files, read and written in the libguestfs appliance. Guests are hostile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

TEXT_LIMIT = 1 << 20  # no configuration file is larger; a hostile one shall not fill our memory
LABEL = "security.selinux"


class Refused(Exception):
    """The guest is not what it should be now. `kind`: unsupported | locked | failed."""

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.kind, self.message, self.remedy = kind, message, remedy


def first_file(g: Any, paths: Sequence[str]) -> str:
    """The first of the paths that is a file, or empty."""
    return next((path for path in paths if g.is_file(path, followsymlinks=True)), "")


def read_all(g: Any, patterns: Sequence[str]) -> dict[str, str]:
    """Path → text of the files that the patterns name."""
    paths: Iterator[str] = (path for pattern in patterns for path in g.glob_expand(pattern))
    # pread answers in one message; read_file starts a transfer, which takes ten times as long for a small file
    found = {path: g.pread(path, TEXT_LIMIT + 1, 0) for path in paths if g.is_file(path, followsymlinks=True)}
    return {path: data.decode(errors="replace") for path, data in found.items() if len(data) <= TEXT_LIMIT}


def write_file(g: Any, path: str, text: str) -> None:
    """root:root 0644, and with the SELinux label that it would get from its folder when made in the running guest."""
    folder = path.rpartition("/")[0]
    missing = []
    while not g.is_dir(folder, followsymlinks=True):
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    attributes = g.getxattrs(folder or "/")
    labels = [item["attrval"].rstrip(b"\0").decode() for item in attributes if item["attrname"] == LABEL]
    for made in reversed(missing):
        g.mkdir_mode(made, 0o755)
    g.write(path, text)
    g.chmod(0o644, path)
    g.chown(0, 0, path)
    for label in labels:
        for made in (*missing, path):
            g.setxattr(LABEL, label, len(label), made)
