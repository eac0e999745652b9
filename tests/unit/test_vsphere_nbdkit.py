"""nbdkit's command lines for plugins that are not here to be run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.domain.models import Disk, SourceSpec, Tls
from workers.sources.vsphere.facts import Place
from workers.sources.vsphere.nbdkit import (
    NbdkitOptions,
    nfc_words,
    server_words,
    ssh_words,
    vddk_words,
    vsphere_words,
)
from workers.sources.vsphere.tls import Endpoint

LEAF = b"a certificate"
DISK = Disk(key=2000, label="Hard disk 1", capacity_bytes=1 << 20, path="[ds 1] a=b/x y.vmdk")
SECRET = "p=w -x"


def spec(**changes: object) -> SourceSpec:
    made = SourceSpec(id="s", name="s", kind="vcenter", host="vc.example", username="u@v", password=SECRET)
    return made.model_copy(update=changes)


def words(endpoint: Endpoint, snapshot: str = "") -> list[str]:
    return vsphere_words(spec(), endpoint, LEAF, Path("/run/secret"), "vm-7", DISK, snapshot)


def test_nothing_can_be_written() -> None:
    line = server_words("vddk", Path("/tmp/x/s"))
    assert line == ["nbdkit", "--foreground", "--readonly", "--unix", "/tmp/x/s", "vddk"]


def test_what_vddk_and_nfc_are_told() -> None:
    line = words(Endpoint("vc.example", 443))
    assert line == [
        "server=vc.example",
        "user=u@v",
        "password=+/run/secret",
        f"thumbprint={hashlib.sha1(LEAF, usedforsecurity=False).digest().hex(':')}",
        "vm=moref=vm-7",
        "file=[ds 1] a=b/x y.vmdk",
    ]
    assert all("=" in word and not word.startswith("-") for word in line)
    assert SECRET not in " ".join(line)


def test_another_port_and_a_snapshot() -> None:
    line = words(Endpoint("fd00::1", 8443), "snapshot-9")
    assert {"server=fd00::1", "port=8443", "snapshot=snapshot-9"} <= set(line)


def test_where_vmwares_library_is() -> None:
    assert vddk_words(NbdkitOptions()) == []
    assert vddk_words(NbdkitOptions(vddk_libdir=Path("/opt/v"))) == ["libdir=/opt/v"]


@pytest.mark.parametrize(
    ("tls", "line"),
    [
        (Tls(), []),
        (Tls(ca_pem="x"), []),
        (Tls(thumbprint="ab" * 32, insecure=True), []),
        (Tls(insecure=True), ["insecure=true"]),
    ],
)
def test_nfc_trusts_blindly_only_when_told_so(tls: Tls, line: list[str]) -> None:
    assert nfc_words(spec(tls=tls)) == line


def test_what_ssh_is_told() -> None:
    options = NbdkitOptions(ssh_known_hosts=Path("/etc/k%h"), ssh_identity=Path("/etc/id"))
    place = Place.parse("[ds 1] a=b/x y.vmdk")
    line = ssh_words(spec(), Endpoint("esx.example", 443), options, Path("/run/secret"), place, "x y-flat.vmdk")
    assert line == [
        "config=",
        "host=esx.example",
        "port=22",
        "user=u@v",
        "password=+/run/secret",
        "known-hosts=/etc/k%%h",
        "path=/vmfs/volumes/ds 1/a=b/x y-flat.vmdk",
        "identity=/etc/id",
    ]
    assert not any("verify" in word for word in line)
