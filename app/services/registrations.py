"""What is said of a source or a target, judged before it is kept: what can never work is refused at once."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.domain.errors import InvalidRequest
from app.domain.models import FILE_KINDS, ImageOptions, Tls
from app.domain.places import WebPlace, parse_place
from app.domain.registered import RegisteredSource, RegisteredTarget
from app.store.store import Store

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Registrations:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add_source(
        self, *, name: str, kind: str, host: str, tls: Tls, credential: str, username: str, password: str
    ) -> RegisteredSource:
        """Raises InvalidRequest, NotFound for an unknown credential, Conflict for a name that is taken."""
        login = bool(credential or username or password)
        if kind in FILE_KINDS:
            _check_place(kind, host, login=login, tls=tls)
        elif not _HOST.fullmatch(host) or host.startswith("-"):
            raise InvalidRequest("this is no host name or address", "Write host or host:port.", pointer="/host")
        if (login or kind not in FILE_KINDS) and bool(credential) == bool(username and password):
            raise InvalidRequest(
                "give either a credential, or a username and a password",
                "A credential is registered by POST /v1/credentials.",
                pointer="/credential",
            )
        _check_tls(tls)
        return self._store.sources.add(
            name=name, kind=kind, host=host, tls=tls, credential=credential, username=username, password=password
        )

    def add_target(
        self,
        *,
        name: str,
        kind: str,
        uri: str,
        pool: str,
        image: ImageOptions,
        networks: dict[str, str],
        credential: str,
    ) -> RegisteredTarget:
        """Raises InvalidRequest for a URI that is remote, NotFound for a credential, Conflict for a name."""
        _check_uri(uri)
        _check_image(image)
        return self._store.targets.add(
            name=name, kind=kind, uri=uri, pool=pool, image=image, networks=networks, credential=credential
        )


def _check_place(kind: str, host: str, *, login: bool, tls: Tls) -> None:
    """What a source of files can never read, told at once; whether it is there only a worker can see."""
    place = parse_place(host)
    if not isinstance(place, WebPlace):
        if login:
            raise InvalidRequest("files on the worker's machine need no login", "Leave it out.", pointer="/credential")
        if tls != Tls():
            raise InvalidRequest("files on the worker's machine need no certificate", "Leave it out.", pointer="/tls")
        return
    if kind == "ova" and not place.path.lower().endswith((".ova", ".ovf")):
        raise InvalidRequest(
            "this is neither the URL of an .ova nor of an .ovf", "Give the URL of the file itself.", pointer="/host"
        )
    if not place.secure and (login or tls != Tls()):
        raise InvalidRequest(
            "a login and a certificate need https: plain http shows a password to anyone",
            "Use an https URL.",
            pointer="/host",
        )


def _check_tls(tls: Tls) -> None:
    if (bool(tls.ca_pem) + bool(tls.thumbprint) + tls.insecure) > 1:
        raise InvalidRequest(
            "a CA, a thumbprint and insecure exclude each other", "Give one of them, or none.", pointer="/tls"
        )
    if tls.thumbprint and not _THUMBPRINT.fullmatch(tls.thumbprint.replace(":", "")):
        raise InvalidRequest(
            "this is no thumbprint",
            "Write the SHA-256 or SHA-1 of the certificate in hexadecimal.",
            pointer="/tls/thumbprint",
        )
    if tls.ca_pem and not _PEM.search(tls.ca_pem):
        raise InvalidRequest("there is no certificate in this PEM", "Give the CA's file.", pointer="/tls/ca_pem")


def _check_image(image: ImageOptions) -> None:
    if image.format == "raw":
        for name in ("compressed", "cluster_kib"):
            if getattr(image, name) != ImageOptions.model_fields[name].default:
                raise InvalidRequest(
                    f"{name} is of qcow2 images only", "Leave it out, or use qcow2.", pointer=f"/image/{name}"
                )
        if image.preallocation == "metadata":
            raise InvalidRequest(
                "a raw image has no metadata to preallocate", "Use off, falloc or full.", pointer="/image/preallocation"
            )
    if image.compressed and image.preallocation != "off":
        raise InvalidRequest(
            "a compressed image cannot be preallocated: nobody knows what it will take",
            "Leave one of them out.",
            pointer="/image/preallocation",
        )


def _check_uri(uri: str) -> None:
    """What a worker would refuse when it connects (workers/targets/libvirt/connection.py), told at once."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidRequest("this is no libvirt URI", "For example qemu:///system.", pointer="/uri") from error
    if parts.scheme.partition("+")[0] != "qemu":
        raise InvalidRequest("only libvirt's QEMU driver is supported", "Write qemu:///system.", pointer="/uri")
    if parts.scheme not in ("qemu", "qemu+unix") or parts.netloc:
        raise InvalidRequest(
            "this libvirt is remote to every worker: disks are written on the machine where the worker runs",
            "Run vmferry on that machine and register qemu:///system there.",
            code="target_is_remote",
            pointer="/uri",
        )
