"""A web server that packages are read from: TLS as the source says, no redirect elsewhere, every short body noticed."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

from app.domain.errors import (
    InvalidRequest,
    NotFound,
    SourceDenied,
    SourceUnavailable,
    TransferInterrupted,
)
from app.domain.models import SourceSpec
from app.domain.places import WebPlace
from workers.sources.vsphere.tls import PROBE_SECONDS, Endpoint, context_for, thumbprint, untrusted

CONNECT_SECONDS = 30.0
READ_SECONDS = 120.0
REDIRECTS = 5

_SAFE = "/%:@!$&'()*+,;=~"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_MOVED = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT)


class WebSite:
    """One server. Threads may share it: each request has a connection of its own."""

    def __init__(self, spec: SourceSpec, place: WebPlace) -> None:
        """Raises InvalidRequest for a login that would go over the wire in clear."""
        self.place = place
        self.endpoint = Endpoint(place.host, place.port)
        self.context = context_for(spec.tls) if place.secure else None
        self.trust = "pinned" if spec.tls.thumbprint else "NOT verified, as asked" if spec.tls.insecure else "verified"
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "vmferry"}
        if spec.username:
            if not place.secure:
                raise InvalidRequest("a password is not sent over plain http", "Use an https URL.", pointer="/host")
            login = b64encode(f"{spec.username}:{spec.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"

    def get(self, path: str, first: int | None = None, last: int | None = None) -> Answer:
        """Ask for a file, or for its bytes from `first` to `last`. The caller closes the answer.

        Raises NotFound, SourceDenied, SourceUnavailable for anything but 200 and 206.
        """
        headers = dict(self._headers)
        if first is not None:
            headers["Range"] = f"bytes={first}-{'' if last is None else last}"
        target = quote(path, safe=_SAFE)
        for _ in range(REDIRECTS):
            answer = Answer(self, target, headers)
            try:
                if answer.status not in _MOVED:
                    answer.require_success()
                    return answer
                target = self._moved(target, answer.header("Location"))
            except BaseException:
                answer.close()
                raise
            answer.close()
        raise SourceDenied(f"{self.url(path)} leads from one place to the next", "Give the URL that it ends at.")

    def url(self, path: str) -> str:
        return str(WebPlace(self.place.secure, self.place.host, self.place.port, path))

    def connect(self) -> http.client.HTTPConnection:
        host, port = self.endpoint.host, self.endpoint.port
        if self.context is None:
            return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=self.context)

    def peer(self) -> str:
        """The address that answers."""
        place = (self.endpoint.host, self.endpoint.port)
        with self.translated(), socket.create_connection(place, PROBE_SECONDS) as sock:
            return str(sock.getpeername()[0])

    def certificate(self) -> str:
        """The thumbprint of the certificate, once it is trusted. Raises SourceDenied. Only for https."""
        assert self.context is not None
        place = (self.endpoint.host, self.endpoint.port)
        with (
            self.translated(),
            socket.create_connection(place, PROBE_SECONDS) as raw,
            self.context.wrap_socket(raw, server_hostname=self.endpoint.host) as sock,
        ):
            return thumbprint(sock.getpeercert(binary_form=True) or b"")

    def _moved(self, target: str, location: str) -> str:
        """Where a redirect leads on this server: a login goes to no other one, and neither does our trust."""
        try:
            there = urlsplit(urljoin(self.url(target), location))
            port = there.port or (443 if there.scheme == "https" else 80)
        except ValueError as error:
            raise SourceUnavailable(f"{self.url(target)} leads to a place that is no URL", "") from error
        scheme = "https" if self.place.secure else "http"
        if (there.scheme, (there.hostname or "").lower(), port) != (scheme, self.endpoint.host, self.endpoint.port):
            raise SourceDenied(
                f"{self.url(target)} leads to another server, {there.scheme}://{there.hostname or ''}:{port}",
                "Register the package by the URL that it leads to, if you trust that server.",
            )
        if there.query:
            return f"{quote(there.path, safe=_SAFE)}?{quote(there.query, safe=_SAFE + '?')}"
        return quote(there.path, safe=_SAFE)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise what the network does as SourceDenied or SourceUnavailable."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            shown_by = "openssl x509 -noout -fingerprint -sha256 -in its certificate's file"
            raise untrusted(self.endpoint, error, shown_by) from error
        except ssl.SSLError as error:
            raise SourceUnavailable(
                f"no TLS connection to {self.endpoint}: {error.strerror or error}", "Does it speak https there?"
            ) from error
        except OSError as error:
            raise SourceUnavailable(
                f"{self.endpoint} does not answer: {error.strerror or error}",
                "Check its name, the network and the firewall.",
            ) from error
        except (http.client.HTTPException, ValueError) as error:
            raise SourceUnavailable(
                f"{self.endpoint} did not answer as a web server does: {type(error).__name__}", "Is it one?"
            ) from error


class Answer:
    """A response whose body is read as a ByteStream; it ends early only with an error."""

    def __init__(self, site: WebSite, target: str, headers: dict[str, str]) -> None:
        self._site = site
        self._name = site.url(target.partition("?")[0])
        self._connection = site.connect()
        self._reading = threading.Lock()  # http.client breaks when it is closed during a read
        self._received = 0
        try:
            with site.translated():
                self._connection.connect()
                self._socket: socket.socket = self._connection.sock
                self._socket.settimeout(READ_SECONDS)
                self._connection.request("GET", target, headers=headers)
                self._response = self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise
        self.status = self._response.status

    def header(self, name: str) -> str:
        return self._response.getheader(name) or ""

    @property
    def length(self) -> int | None:
        """Bytes of the body; None where the server does not say."""
        said = self.header("Content-Length")
        return int(said) if _LENGTH.fullmatch(said) and not self._response.chunked else None

    @property
    def part(self) -> tuple[int, int, int | None] | None:
        """(first, last, size of the whole) of an answer to a range; None for the whole file."""
        match = _RANGE.fullmatch(self.header("Content-Range"))
        if self.status != HTTPStatus.PARTIAL_CONTENT or match is None:
            return None
        return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])

    @property
    def stamp(self) -> str:
        """What the server says to tell one content from another; empty where it says nothing."""
        return f"{self.header('ETag')} {self.header('Last-Modified')}".strip()

    @property
    def date(self) -> datetime | None:
        return _moment(self.header("Date"))

    @property
    def modified(self) -> datetime | None:
        return _moment(self.header("Last-Modified"))

    def require_success(self) -> None:
        status = self.status
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            if self.header("Content-Encoding") not in ("", "identity"):
                raise SourceDenied(
                    f"{self._name} comes compressed by the server, without being asked for",
                    "Have the server send files of packages as they are.",
                )
            return
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise SourceDenied(f"{self._name} is refused (HTTP {status})", "Check the login, and what it may read.")
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise NotFound(f"{self._name} is not there (HTTP {status})", "Check the URL.")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise SourceDenied(f"{self._name} is empty, or shorter than it was (HTTP {status})", "Upload it again.")
        raise SourceUnavailable(f"{self._name} was not sent (HTTP {status})", "")

    def readinto(self, buffer: memoryview) -> int:
        """0 is the end of the body, as the server announced it. Raises TransferInterrupted."""
        try:
            with self._reading:
                count = self._response.readinto(buffer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._interrupted(_reason(error)) from error
        self._received += count
        if not count and len(buffer) and self.length not in (None, self._received):
            raise self._interrupted(f"the body has {self.length} bytes")
        return count

    def interrupt(self) -> None:
        # not SSLSocket's own shutdown: it would go on without TLS
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        with self._reading:
            self._response.close()
            self._connection.close()

    def _interrupted(self, reason: str) -> TransferInterrupted:
        return TransferInterrupted(
            f"{self._name} stopped coming after {self._received} bytes: {reason}",
            "It is read again. If it happens each time, look for a proxy or firewall with limits.",
        )


def _moment(value: str) -> datetime | None:
    try:
        seen = parsedate_to_datetime(value)
    except ValueError:
        return None
    return seen.replace(tzinfo=UTC) if seen.tzinfo is None else seen.astimezone(UTC)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {READ_SECONDS:.0f} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was closed in the middle of the body"
    return f"{type(error).__name__}: {error}"
