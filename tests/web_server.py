"""A web server over TLS, or without, that gives files out of memory and does what real ones do wrong."""

from __future__ import annotations

import base64
import ipaddress
import re
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


@dataclass
class WebServer:
    """A context manager. `files` by path; what is set while it runs goes for the next request.

    ranges: honoured (True), ignored (False), or answered with other bytes ("wrong"). login: what Basic must bring.
    cut: bytes after which every body over that size breaks off; cuts: how many of them, where not all.
    flip: a byte of the file that comes changed. extra: bytes that a Content-Length claims too many.
    length: how a body ends: by "length", "chunked", or by "close".
    missing: the status for what is not there. redirects: path → Location.
    requests: (path, Range header or "") in the order of their coming.
    """

    folder: Path
    files: dict[str, bytes] = field(default_factory=dict)
    tls: bool = True
    ranges: bool | str = True
    login: tuple[str, str] | None = None
    cut: int | None = None
    cuts: int = -1
    flip: int | None = None
    extra: int = 0
    length: str = "length"
    encoding: str = ""
    missing: int = 404
    etag: str = '"one"'
    modified: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=1))
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0

    def __enter__(self) -> Self:
        server = self

        class Handler(_Handler):
            site = server

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if self.tls:
            self.ca_pem = certificate(self.folder)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.folder / "server.pem")
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}{path}"


class _Handler(BaseHTTPRequestHandler):
    site: WebServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site, path = self.site, unquote(self.path.partition("?")[0])
        wanted = self.headers.get("Range", "")
        site.requests.append((path, wanted))
        self.close_connection = True
        if path in site.redirects:
            self._head(302, {"Location": site.redirects[path], "Content-Length": "0"})
            return
        if site.login is not None:
            token = base64.b64encode(":".join(site.login).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {token}":
                self._head(401, {"Content-Length": "0"})
                return
        if path not in site.files:
            self._head(site.missing, {"Content-Length": "0"})
            return
        data = bytearray(site.files[path])
        if site.flip is not None and site.flip < len(data):
            data[site.flip] ^= 1
        headers = {"ETag": site.etag, "Last-Modified": format_datetime(site.modified, usegmt=True)}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        status = 200
        if match and site.ranges:
            first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
            if site.ranges == "wrong":
                first, last = first + 1, last + 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        if site.encoding:
            headers["Content-Encoding"] = site.encoding
        if site.length == "length":
            headers["Content-Length"] = str(len(data) + site.extra)
        elif site.length == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        self._head(status, headers)
        self._body(bytes(data))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _body(self, data: bytes) -> None:
        whole = self.site.cut is None or len(data) <= self.site.cut or not self.site.cuts
        if not whole:
            self.site.cuts -= 1
        data = data if whole else data[: self.site.cut]
        try:
            for start in range(0, len(data), 1 << 16):
                piece = data[start : start + (1 << 16)]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.site.length == "chunked" else piece)
                self.site.sent += len(piece)
            if whole and self.site.length == "chunked":
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            """The client has heard enough."""

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `requests`."""


def certificate(folder: Path) -> str:
    """Self-signed; with its key in server.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(pem + secret)
    return pem.decode()
