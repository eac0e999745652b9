"""Manifests of OVF packages, as their writers spell them and as nobody does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import UnsafeImage, VmferryError
from converters.package_digests import MAX_BYTES, Digest, expected, parse, require_equal, require_present
from tests.packages import manifest

DATA = b"the bytes of a file"
GOOD = manifest([("web.ovf", DATA), ("web-disk1.vmdk", b"")])
SHA1 = hashlib.sha1(DATA).hexdigest()  # noqa: S324
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        f"SHA256(web.ovf)= {SHA256}",  # ovftool, vSphere
        f"SHA1 (web.ovf) = {SHA1}",  # VirtualBox
        f"SHA256 (web.ovf) = {SHA256}",  # sha256sum --tag
        f"sha1(web.ovf)={SHA1.upper()}",
        f"\ufeffSHA512(web.ovf)= {hashlib.sha512(DATA).hexdigest()}\r",
        f"SHA384(web.ovf)= {hashlib.sha384(DATA).hexdigest()}\n\n",
    ],
)
def test_spellings(line: str) -> None:
    digests = parse(f"{line}\n".encode())
    require_equal(digests, "web.ovf", DATA)
    with pytest.raises(UnsafeImage, match="not those"):
        require_equal(digests, "web.ovf", DATA + b"!")


def test_a_name_may_have_brackets_and_blanks() -> None:
    assert parse(f"SHA1(a (1).vmdk)= {SHA1}".encode()) == {"a (1).vmdk": Digest("SHA1", bytes.fromhex(SHA1))}


def test_every_file_must_be_named_and_every_name_be_there() -> None:
    digests = parse(GOOD)
    require_present(digests, {"web.ovf", "web-disk1.vmdk", "web.mf"})
    with pytest.raises(UnsafeImage, match="not in the package"):
        require_present(digests, {"web.ovf"})
    with pytest.raises(UnsafeImage, match="leaves out"):
        expected(digests, "web-disk2.vmdk")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (f"MD5(web.ovf)= {SHA1[:32]}", "algorithm"),
        (f"SHA3-256(web.ovf)= {SHA256}", "algorithm"),
        (f"SHA256(web.ovf)= {SHA1}", "digits"),
        (f"SHA1(web.ovf)= {SHA1}\nSHA256(web.ovf)= {SHA256}", "two digests"),
        (f"SHA1(../web.ovf)= {SHA1}", "outside"),
        (f"SHA1(/etc/shadow)= {SHA1}", "outside"),
        (f"SHA1(..)= {SHA1}", "outside"),
        (f"SHA1()= {SHA1}", "line"),
        (f"SHA1(web.ovf)= {SHA1} more", "line"),
        ("SHA1(web.ovf)= xyz", "line"),
        ("nonsense", "line"),
        ("SHA1(web.ovf)= ", "line"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnsafeImage, match=reason):
        parse(text.encode())


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * (MAX_BYTES + 1)], ids=["no text", "too large"])
def test_bytes_that_are_refused(data: bytes) -> None:
    with pytest.raises(UnsafeImage):
        parse(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.one_of(st.binary(max_size=20), st.text(max_size=10)))
def test_a_changed_manifest_never_names_a_file_outside(start: int, length: int, new: bytes | str) -> None:
    put = new if isinstance(new, bytes) else new.encode(errors="surrogatepass")
    try:
        found = parse(GOOD[:start] + put + GOOD[start + length :])
    except VmferryError:
        return
    assert all("/" not in name and name not in (".", "..") for name in found)
    assert all(len(digest.value) == digest.new().digest_size for digest in found.values())
