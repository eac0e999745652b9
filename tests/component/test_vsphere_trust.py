"""Which certificates a vSphere source trusts, and what it says before it does: nothing."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.domain.errors import SourceDenied, SourceUnavailable
from app.domain.models import SourceSpec, Tls
from app.ports.source import Source
from tests.component.test_vsphere_source import failed, raw
from tests.contract.source_platforms import MIB, lab_spec
from tests.contract.test_source import decode, go_on
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.sources import open_source

SPEC: dict[str, Any] = {"id": "s", "name": "s", "kind": "vcenter", "username": "u", "password": "p"}


@contextmanager
def stranger(directory: Path) -> Iterator[tuple[int, list[bytes]]]:
    """A TLS server on 127.0.0.1, where pyVmomi itself would verify nothing; it notes what clients say and hangs up."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "server.pem").write_bytes(pem + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as client:
                heard.append(client.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def test_an_untrusted_certificate_is_named(lab: Lab) -> None:
    spec = lab_spec(lab, tls=Tls())
    name, detail, remedy = failed(spec)
    assert name == "certificate"
    assert lab.thumbprint in detail
    assert "tls.thumbprint" in remedy
    assert "tls.ca_pem" in remedy
    with pytest.raises(SourceDenied, match=lab.thumbprint):
        open_source(spec).inventory()


@pytest.mark.parametrize("form", ["colons", "plain", "lower"])
def test_the_pinned_certificate_needs_no_ca(lab: Lab, source: Source, form: str) -> None:
    pin = {"colons": lab.thumbprint, "plain": lab.thumbprint.replace(":", ""), "lower": lab.thumbprint.lower()}[form]
    pinned = open_source(lab_spec(lab, tls=Tls(thumbprint=pin)))
    rows = pinned.check()
    assert all(row.ok for row in rows)
    assert pinned.identity() == source.identity()
    pinned.close()


@pytest.mark.parametrize("insecure", [False, True])
def test_a_pin_outranks_the_rest(lab: Lab, insecure: bool) -> None:
    spec = lab_spec(lab, tls=Tls(thumbprint="ab" * 32, ca_pem=lab.ca_file.read_text(), insecure=insecure))
    assert failed(spec)[0] == "certificate"
    with pytest.raises(SourceDenied, match="not the pinned one"):
        open_source(spec).inventory()


@pytest.mark.parametrize(
    ("tls", "denied"),
    [(Tls(), True), (Tls(thumbprint="ab" * 20), True), (Tls(thumbprint="ab" * 32), True), (Tls(insecure=True), False)],
)
def test_nothing_is_sent_before_the_certificate_is_trusted(tmp_path: Path, tls: Tls, denied: bool) -> None:
    with stranger(tmp_path) as (port, heard):
        source = open_source(SourceSpec(**SPEC, host=f"127.0.0.1:{port}", tls=tls))
        with pytest.raises(SourceDenied if denied else SourceUnavailable):
            source.now()
    assert (b"".join(heard) == b"") is denied


def test_insecure_is_said_aloud(lab: Lab) -> None:
    source = open_source(lab_spec(lab, tls=Tls(insecure=True)))
    (row,) = [row for row in source.check() if row.name == "certificate"]
    assert row.ok
    assert "NOT verified" in row.detail
    source.close()


def test_the_environment_changes_no_trust(lab: Lab, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(lab.ca_file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert failed(lab_spec(lab, tls=Tls()))[0] == "certificate"
    assert all(row.ok for row in source.check())


def test_a_self_signed_host_is_trusted_by_the_lease(tmp_path: Path) -> None:
    with Lab(tmp_path, [VmSpec("x", [DiskSpec(size_mib=2, fill_mib=1)], on=False)], host_self_signed=True) as lab:
        source = open_source(lab_spec(lab))
        with source.access(lab.ids[0], "nfc", cancel=go_on) as export:
            assert decode(export.disk(2000).open_stream(), 2 * MIB) == raw(lab, lab.ids[0])
        source.close()
