"""Which certificate is trusted, decided on the very connection that is used and before anything is sent on it.

pyVmomi left to itself switches verification off for localhost and ignores a thumbprint under an unverified context, so
every connection here gets an explicit context. All connections (SOAP and disks) are http.client's, hence one kind of
check, and neither proxies nor CA bundles from the environment.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidRequest, SourceDenied
from app.domain.models import Tls

PROBE_SECONDS = 10.0  # to connect and shake hands, when only looking

_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Endpoint:
    """A host name or address (IPv6 without brackets) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """From "host", "host:port" or "[v6]:port"; the port is 443 unless said. Raises InvalidRequest."""
        match = _HOST.fullmatch(text)
        port = int((match and match["port"]) or 443)
        if not match or not 0 < port < 65536:
            raise InvalidRequest(
                f"{text!r} is not a host name or address",
                "Give it as vcenter.example.org, with :port if it is not 443.",
            )
        return cls(match["host"].strip("[]").lower(), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


class CertificateRefused(ssl.SSLCertVerificationError):
    """The peer's leaf is not the pinned one."""


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        assert isinstance(self.context, PinnedContext)
        self.context.require(self.getpeercert(binary_form=True))


class PinnedContext(ssl.SSLContext):
    """Trusts one leaf certificate, whoever signed it; any other ends the handshake with CertificateRefused."""

    pin: str
    sslobject_class = _PinnedObject

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        sock = super().wrap_socket(*args, **kwargs)
        try:
            self.require(sock.getpeercert(binary_form=True))
        except CertificateRefused:
            sock.close()
            raise
        return sock

    def require(self, leaf: bytes | None) -> None:
        """Raises CertificateRefused."""
        if self.pin not in _digests(leaf or b""):
            raise CertificateRefused("the certificate is not the pinned one")


def context_for(tls: Tls) -> ssl.SSLContext:
    """The context for a source: its pin comes first, then `insecure`, then its CA bundle, then the system's CAs."""
    if tls.thumbprint:
        return pinned(tls.thumbprint)
    if tls.insecure:
        return _unverified(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    try:
        return ssl.create_default_context(cadata=tls.ca_pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequest(
            "the CA bundle holds no PEM certificate", "Give it as -----BEGIN CERTIFICATE----- …"
        ) from error


def pinned(thumbprint: str) -> ssl.SSLContext:
    """A context for one leaf: SHA-256 or SHA-1, hex, with or without colons. Raises InvalidRequest."""
    pin = re.sub(r"[:\s]", "", thumbprint).lower()
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", pin):
        raise InvalidRequest("a thumbprint is 64 (SHA-256) or 40 (SHA-1) hexadecimal digits", "Colons are optional.")
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.pin = pin
    return _unverified(context)


def thumbprint(der: bytes) -> str:
    """SHA-256 in the form that people compare: upper case with colons."""
    return hashlib.sha256(der).digest().hex(":").upper()


def leaf(endpoint: Endpoint, context: ssl.SSLContext) -> bytes:
    """The certificate (DER) that a server shows, trusted by `context`. Raises OSError."""
    with (
        socket.create_connection((endpoint.host, endpoint.port), PROBE_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=endpoint.host) as sock,
    ):
        return sock.getpeercert(binary_form=True) or b""


def seen_thumbprint(endpoint: Endpoint) -> str:
    """The SHA-256 of the leaf that a server shows, unverified: to be shown to people, never to be trusted."""
    return thumbprint(leaf(endpoint, _unverified(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))))


_VSPHERES = (
    "openssl x509 -noout -fingerprint -sha256 -in /etc/vmware/ssl/rui.crt on ESXi; the appliance's certificate page on"
    " vCenter"
)


def untrusted(endpoint: Endpoint, error: ssl.SSLCertVerificationError, shown_by: str = _VSPHERES) -> SourceDenied:
    """What to tell the user about a certificate that was refused: why, the thumbprint seen, and the two ways on.

    `shown_by` is what shows the certificate on the server itself.
    """
    try:
        seen = seen_thumbprint(endpoint)
    except OSError:
        seen = ""
    reason = error.verify_message if not isinstance(error, CertificateRefused) else "it is not the pinned one"
    return SourceDenied(
        f"the certificate of {endpoint} is not trusted: {reason}"
        + (f" (its SHA-256 thumbprint is {seen})" if seen else ""),
        f"Read the thumbprint on the server itself ({shown_by}). If it is the one above, pin it as tls.thumbprint; or"
        " give the CA that signed it as tls.ca_pem. If it is another one, somebody may be listening in between.",
        thumbprint=seen or None,
    )


def _unverified(context: ssl.SSLContext) -> ssl.SSLContext:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _digests(der: bytes) -> tuple[str, str]:
    # vSphere itself names certificates by SHA-1 (sslThumbprint); a pin needs second-preimage resistance only
    return hashlib.sha256(der).hexdigest(), hashlib.sha1(der).hexdigest()  # noqa: S324
