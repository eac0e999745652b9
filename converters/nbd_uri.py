"""NBD URIs, read by ourselves: what is not understood is refused, not handed on."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from app.domain.errors import InvalidRequest

PORT = 10809
_SCHEMES = {"nbd": False, "nbds": True, "nbd+unix": False, "nbds+unix": True}
_FILES = ("socket", "tls-certificates", "tls-psk-file")
_FORM = "Write nbd://HOST:PORT/EXPORT, nbds://HOST/EXPORT, or nbd+unix:///EXPORT?socket=/PATH."


def is_nbd_uri(text: str) -> bool:
    return text.partition("://")[0].lower() in _SCHEMES and "://" in text


@dataclass(frozen=True)
class NbdUri:
    """Where an export is: at `host` and `port`, or at the Unix `socket`.

    With `tls` nothing is sent in clear. The server is then known by the system's CAs or by those in the folder
    `certificates`, or both sides by the key of `username` in the file `psk`.
    """

    export: str
    host: str = ""
    port: int = PORT
    socket: str = ""
    tls: bool = False
    username: str = ""
    certificates: str = ""
    psk: str = ""

    @classmethod
    def parse(cls, text: str) -> NbdUri:
        """Raises InvalidRequest, without the URI in it where it has a password."""
        try:
            parts = urlsplit(text)
            port = parts.port or PORT
        except ValueError as error:
            raise _wrong(f"the NBD URI cannot be read: {error}") from error
        scheme = parts.scheme.lower()
        if scheme not in _SCHEMES:
            raise _wrong(f"no NBD URI: {scheme[:20]}://")
        if parts.password is not None:
            raise InvalidRequest("an NBD URI with a password in it", "Write the key into a file: tls-psk-file=/PATH.")
        options = _options(parts)
        export = unquote(parts.path.removeprefix("/"))
        if any(not character.isprintable() for character in text + export) or len(export.encode()) > 4096:
            raise _wrong("the NBD URI has characters that no export's name has")
        over_socket = scheme.endswith("+unix")
        if over_socket != bool(options.get("socket")) or over_socket == bool(parts.hostname) or parts.fragment:
            raise _wrong(f"the NBD URI has no host, or no socket: {scheme}://")
        tls = _SCHEMES[scheme]
        if not tls and (parts.username or options.keys() - {"socket"}):
            raise _wrong("the NBD URI has keys or a user, but does not ask for TLS (nbds)")
        return cls(
            export=export,
            host=parts.hostname or "",
            port=port,
            socket=options.get("socket", ""),
            tls=tls,
            username=unquote(parts.username or ""),
            certificates=options.get("tls-certificates", ""),
            psk=options.get("tls-psk-file", ""),
        )

    def __str__(self) -> str:
        """For people: where it is, without keys."""
        where = self.socket or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        return f"NBD export {self.export!r} at {where}"


def _options(parts: SplitResult) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _FILES or key in found:
            raise _wrong(f"the NBD URI's option {key[:40]!r}")
        if not value.startswith("/"):
            raise _wrong(f"the NBD URI's {key} is no absolute path")
        found[key] = value
    return found


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, _FORM)
