"""NBD URIs: the three forms are read, everything else is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from converters.nbd_uri import NbdUri, is_nbd_uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("nbd://kvm1", NbdUri("", "kvm1")),
        ("nbd://kvm1:10900/disk%201", NbdUri("disk 1", "kvm1", 10900)),
        ("NBD://[fd00::1]:1/a/b", NbdUri("a/b", "fd00::1", 1)),
        ("nbds://kvm1/x", NbdUri("x", "kvm1", tls=True)),
        (
            "nbds://alice@kvm1/x?tls-psk-file=/keys/psk",
            NbdUri("x", "kvm1", tls=True, username="alice", psk="/keys/psk"),
        ),
        ("nbds://kvm1/?tls-certificates=/pki", NbdUri("", "kvm1", tls=True, certificates="/pki")),
        ("nbd+unix:///?socket=/run/a%20b", NbdUri("", socket="/run/a b")),
        ("nbds+unix:///e?socket=/run/s", NbdUri("e", socket="/run/s", tls=True)),
    ],
)
def test_what_is_understood(text: str, uri: NbdUri) -> None:
    assert is_nbd_uri(text)
    assert NbdUri.parse(text) == uri


@pytest.mark.parametrize(
    "text",
    [
        "nbd:kvm1:10809",
        "nbd:unix:/run/s",
        "nbd+ssh://kvm1/x",
        "nbd+vsock://2/x",
        "http://kvm1/x",
        "nbd://",
        "nbd:///x",
        "nbd://kvm1:0x1/",
        "nbd://kvm1:99999/",
        "nbd://kvm1/?socket=/run/s",
        "nbd://kvm1/?tls-certificates=/pki",
        "nbd://kvm1/?tls-verify-peer=false",
        "nbds://kvm1/?tls-verify-peer=false",
        "nbds://kvm1/?tls-psk-file=psk",
        "nbds://kvm1/?tls-psk-file=/a&tls-psk-file=/b",
        "nbd://alice@kvm1/",
        "nbd://kvm1/#part",
        "nbd+unix:///x",
        "nbd+unix:///x?socket=relative",
        "nbd+unix://kvm1/x?socket=/run/s",
        "nbd://kvm1/a%00b",
        "nbd://kvm1/a%0ab",
        "nbd://kvm1/" + "x" * 4097,
        "",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        NbdUri.parse(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        NbdUri.parse("nbds://alice:hunter2@kvm1/x")
    assert "hunter2" not in str(caught.value.to_dict())


def test_paths_are_no_uris() -> None:
    assert not any(is_nbd_uri(path) for path in ("/a/nbd", "nbd", "nbd:x", "./nbd:/x", "https://a/b"))


@given(st.text(max_size=60), st.sampled_from(["nbd://", "nbds://", "nbd+unix://", ""]))
def test_any_text(text: str, scheme: str) -> None:
    with suppress(InvalidRequest):
        uri = NbdUri.parse(scheme + text)
        assert bool(uri.host) != bool(uri.socket)
        assert uri.export.isprintable()
