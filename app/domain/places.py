"""Where the files of a source are: a path on the worker's machine, or a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from app.domain.errors import InvalidRequest

_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:.]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class WebPlace:
    """A URL without a login and without a query. `path` is as it was written; IPv6 hosts have no brackets."""

    secure: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == (443 if self.secure else 80) else f":{self.port}"
        return f"{'https' if self.secure else 'http'}://{host}{port}{self.path}"


Place = PurePosixPath | WebPlace


def parse_place(text: str) -> Place:
    """An absolute path or an http(s) URL. Raises InvalidRequest, which never repeats what may be a secret."""
    if _CONTROL.search(text) or text != text.strip():
        raise _invalid("there are control characters in it, or blanks around it", "Write it without.")
    if text.startswith("/"):
        path = PurePosixPath(text)
        if ".." in path.parts:
            raise _invalid("there is a .. in the path", "Write where it really leads.")
        return path
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _invalid("this is no URL", "For example https://files.example/web.ova.") from error
    if parts.scheme not in ("http", "https"):
        raise _invalid("this is neither an absolute path nor an http(s) URL", "A path begins with /.")
    if "@" in parts.netloc:
        raise _invalid("there is a login in the URL", "Give a username and a password, or a credential.")
    if parts.query or parts.fragment:
        raise _invalid(
            "there is a ? or # in the URL", "Give a plain URL, and a username and a password if it needs one."
        )
    host = (parts.hostname or "").lower()
    if not _HOST.fullmatch(host) or len(host) > 253 or port == 0:
        raise _invalid("there is no host in the URL", "For example https://files.example/web.ova.")
    secure = parts.scheme == "https"
    return WebPlace(secure, host, port or (443 if secure else 80), parts.path)


def _invalid(message: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(message, remedy, pointer="/host")
