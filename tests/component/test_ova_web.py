"""OVA archives and OVF folders on a web server: with byte ranges and without, and what networks do to them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import (
    InvalidRequest,
    NotFound,
    PermanentError,
    SourceChanged,
    SourceDenied,
    SourceUnavailable,
    TransferInterrupted,
    TransientError,
    UnsafeImage,
    VmferryError,
)
from app.domain.models import Tls
from tests.component.test_ova_source import by_qemu_img, drain, opened, read, stream
from tests.contract.test_source import go_on
from tests.packages import MIB, PackagedDisk, package, spec, tar
from tests.web_server import WebServer
from workers.sources import open_source

OVA, OVF = "/exports/web.ova", "/exports/My%20VM/web.ovf"
LOGIN = ("mover", "pa55word-of-the-web")


@pytest.fixture(scope="module")
def raws() -> list[bytes]:
    source = random.Random(21)
    return [source.randbytes(3 * MIB) + bytes(5 * MIB) + b"text" * MIB, source.randbytes(MIB + 512)]


@pytest.fixture(scope="module")
def disks(raws: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> list[PackagedDisk]:
    return [by_qemu_img(f"web disk{i}.vmdk", raw, tmp_path_factory.mktemp("disk")) for i, raw in enumerate(raws, 1)]


@pytest.fixture
def server(disks: list[PackagedDisk], tmp_path: Path) -> Iterator[WebServer]:
    with WebServer(tmp_path) as server:
        fill(server, disks)
        yield server


def fill(server: WebServer, disks: list[PackagedDisk], **options: Any) -> None:
    members = package(disks, **options)
    server.files |= {"/exports/My VM/" + name: data for name, data in members}
    server.files[OVA] = tar(members)


def trust(server: WebServer, **more: Any) -> dict[str, Any]:
    return {"tls": Tls(ca_pem=server.ca_pem) if server.tls else Tls(), **more}


@pytest.mark.parametrize("manifest_last", [False, True], ids=["manifest first", "manifest last"])
@pytest.mark.parametrize("length", ["length", "chunked", "close"])
@pytest.mark.parametrize("path", [OVA, OVF], ids=["ova", "ovf"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_disks_equal_what_was_packed(
    ranges: bool,
    path: str,
    length: str,
    manifest_last: bool,
    server: WebServer,
    disks: list[PackagedDisk],
    raws: list[bytes],
) -> None:
    fill(server, disks, manifest_last=manifest_last)
    server.ranges, server.length = ranges, length
    with opened(server.url(path), **trust(server)) as source:
        rows = {row.name: row for row in source.check()}
        assert all(row.ok for row in rows.values()), rows
        assert rows["certificate"].detail.startswith("verified; SHA-256 ")
        assert ("does not" in rows["ranges"].detail) is not ranges
        (vm,) = source.inventory()
        assert read(source, vm) == raws
        assert read(source, vm) == raws
    assert not list(server.folder.glob("*.vmdk"))


def test_only_what_is_needed_is_fetched(server: WebServer, disks: list[PackagedDisk]) -> None:
    """An inventory reads headers, whatever the size of the disks between them."""
    with opened(server.url(OVA), **trust(server)) as source:
        (vm,) = source.inventory()
        assert server.sent < 5 * (64 << 10) < len(server.files[OVA]) // 4
        read(source, vm)
        assert server.sent < len(server.files[OVA]) * 1.2


def test_without_ranges_a_manifest_at_the_end_is_still_held_against_the_disk(
    server: WebServer, disks: list[PackagedDisk]
) -> None:
    fill(server, disks, manifest_last=True)
    server.ranges = False
    place = server.files[OVA].index(disks[0].vmdk) + len(disks[0].vmdk) - 3  # where no decoder looks
    server.flip = place
    with opened(server.url(OVA), **trust(server)) as source:
        (vm,) = source.inventory()
        assert [concern.code for concern in vm.concerns] == ["manifest_missing"]
        assert "no manifest before its disks" in source.check()[-1].detail
        with pytest.raises(UnsafeImage, match="SHA256"), source.access(vm.id, "file", cancel=go_on) as access:
            drain(stream(access.disk(2000)))


@pytest.mark.parametrize("path", [OVA, OVF], ids=["ova", "ovf"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("length", ["length", "chunked", "close"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_cut_body_is_caught(
    share: float, length: str, ranges: bool, path: str, server: WebServer, disks: list[PackagedDisk]
) -> None:
    server.ranges, server.length = ranges, length
    with opened(server.url(path), **trust(server)) as source:
        (vm,) = source.inventory()
        whole = server.files[OVA] if path == OVA and not ranges else disks[0].vmdk
        server.cut = int(len(whole) * share)
        with pytest.raises(VmferryError) as caught:
            read(source, vm)
    # a body that ends with its connection tells nothing of its size: then it is the digest or the size that does
    assert isinstance(caught.value, (TransferInterrupted, UnsafeImage))
    if length != "close":
        assert isinstance(caught.value, TransferInterrupted)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_flip_on_the_way_is_caught(ranges: bool, seed: int, server: WebServer, disks: list[PackagedDisk]) -> None:
    server.ranges = ranges
    with opened(server.url(OVA), **trust(server)) as source:
        (vm,) = source.inventory()
        start = server.files[OVA].index(disks[0].vmdk)
        server.flip = start + random.Random(seed).randrange(len(disks[0].vmdk))
        with pytest.raises(UnsafeImage), source.access(vm.id, "file", cancel=go_on) as access:
            drain(stream(access.disk(2000)))


@pytest.mark.parametrize("extra", [-50_000, 50_000])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("path", [OVA, OVF], ids=["ova", "ovf"])
def test_a_lying_length_is_caught(
    path: str, ranges: bool, extra: int, server: WebServer, disks: list[PackagedDisk]
) -> None:
    fill(server, disks, manifest_last=True)  # so that even one pass over an archive goes to its end
    server.ranges = ranges
    with opened(server.url(path), **trust(server)) as source:
        (vm,) = source.inventory()
        server.extra = extra
        with pytest.raises((TransferInterrupted, SourceChanged, UnsafeImage)):
            read(source, vm)
    with opened(server.url(path), **trust(server)) as source, pytest.raises((TransientError, PermanentError)):
        read(source, source.inventory()[0])


@pytest.mark.parametrize("change", ["etag", "modified", "size"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_file_that_is_replaced_while_it_is_read(ranges: bool, change: str, server: WebServer) -> None:
    server.ranges = ranges
    with opened(server.url(OVA), **trust(server)) as source:
        (vm,) = source.inventory()
        with source.access(vm.id, "file", cancel=go_on) as access:
            identity = access.disk(2000).identity
            if change == "etag":
                server.etag = '"two"'
            elif change == "modified":
                server.modified += timedelta(seconds=1)
            else:
                server.files[OVA] += bytes(512)
            with pytest.raises(SourceChanged):
                stream(access.disk(2000))
        with source.access(vm.id, "file", cancel=go_on) as access:
            assert access.disk(2000).identity != identity


def test_a_file_of_later_is_a_change(server: WebServer) -> None:
    with opened(server.url(OVA), **trust(server)) as source:
        (vm,) = source.inventory()
        now = source.now()
        assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)
        assert not source.started_since(vm.id, now)
        server.modified = now
        assert source.started_since(vm.id, now)
    with opened(server.url(OVF), **trust(server)) as source:
        (vm,) = source.inventory()
        assert source.started_since(vm.id, now)
        assert not source.started_since(vm.id, now + timedelta(seconds=2))


def test_a_login_is_sent_to_its_server_and_shown_to_nobody(
    server: WebServer, raws: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    server.login = LOGIN
    with opened(server.url(OVA), **trust(server)) as source:
        with pytest.raises(SourceDenied, match="401"):
            source.inventory()
        assert not source.check()[-1].ok
    with opened(server.url(OVA), **trust(server, username=LOGIN[0], password=LOGIN[1])) as source:
        (vm,) = source.inventory()
        assert read(source, vm) == raws
        server.login = ("mover", "changed")
        with pytest.raises(SourceDenied) as caught:
            read(source, vm)
    assert LOGIN[1] not in str(caught.value.to_dict()) + "".join(capfd.readouterr())


def test_redirects_stay_on_their_server(server: WebServer, raws: list[bytes], tmp_path: Path) -> None:
    server.redirects = {"/latest.ova": "/hop.ova", "/hop.ova": OVA + "?sig=1"}
    with opened(server.url("/latest.ova"), **trust(server)) as source:
        assert read(source, source.inventory()[0]) == raws
    (tmp_path / "other").mkdir()
    with WebServer(tmp_path / "other", tls=False) as other:
        other.files[OVA] = server.files[OVA]
        for place in (other.url(OVA), f"http://127.0.0.1:{server.port}{OVA}", "//elsewhere.example/x.ova", "file:///x"):
            server.redirects = {"/away.ova": place}
            secret = trust(server, username=LOGIN[0], password=LOGIN[1])
            with opened(server.url("/away.ova"), **secret) as source, pytest.raises(SourceDenied, match="another"):
                source.inventory()
        assert other.requests == []
    server.redirects = {"/round.ova": "/round.ova"}
    with opened(server.url("/round.ova"), **trust(server)) as source, pytest.raises(SourceDenied):
        source.inventory()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"encoding": "gzip"}, SourceDenied),
        ({"ranges": "wrong"}, SourceDenied),
        ({"files": {}}, NotFound),
        ({"files": {OVA: b""}}, PermanentError),
        ({"files": {OVA: b"<html>Not what you asked for</html>" * 100}}, UnsafeImage),
    ],
    ids=["compressed", "other bytes", "missing", "empty", "a page"],
)
def test_answers_that_are_no_package(fault: dict[str, Any], error: type[VmferryError], server: WebServer) -> None:
    for key, value in fault.items():
        setattr(server, key, value)
    with opened(server.url(OVA), **trust(server)) as source:
        with pytest.raises(error):
            source.inventory()
        assert not source.check()[-1].ok


def test_a_server_that_hides_what_is_missing(server: WebServer, disks: list[PackagedDisk], raws: list[bytes]) -> None:
    """As object stores do: nothing hangs on a signature, but a manifest that may be there is not passed over."""
    server.missing = 403
    with opened(server.url(OVF), **trust(server)) as source:
        assert read(source, source.inventory()[0]) == raws
    del server.files["/exports/My VM/web.mf"]
    with opened(server.url(OVF), **trust(server)) as source, pytest.raises(SourceDenied, match=r"web\.mf"):
        source.inventory()


def test_a_server_that_stops_to_honour_ranges(server: WebServer) -> None:
    with opened(server.url(OVA), **trust(server)) as source:
        (vm,) = source.inventory()
        with source.access(vm.id, "file", cancel=go_on) as access:
            server.ranges = False
            with pytest.raises(TransferInterrupted):
                stream(access.disk(2000))


def test_certificates(server: WebServer, raws: list[bytes]) -> None:
    with opened(server.url(OVA)) as source:
        rows = {row.name: row for row in source.check()}
        assert [name for name, row in rows.items() if not row.ok] == ["certificate"]
        seen = rows["certificate"].detail.split("thumbprint is ")[1].rstrip(")")
        with pytest.raises(SourceDenied, match="not trusted"):
            source.inventory()
    assert server.requests == []
    with opened(server.url(OVA), tls=Tls(thumbprint=seen)) as source:
        assert source.check()[1].detail.startswith("pinned")
        assert read(source, source.inventory()[0]) == raws
    with opened(server.url(OVA), tls=Tls(insecure=True)) as source:
        assert "NOT verified" in source.check()[1].detail


def test_plain_http_is_read_with_a_warning_and_without_a_password(
    disks: list[PackagedDisk], raws: list[bytes], tmp_path: Path
) -> None:
    with WebServer(tmp_path, tls=False) as server:
        fill(server, disks)
        with opened(server.url(OVA)) as source:
            (vm,) = source.inventory()
            assert [(c.severity, c.code) for c in vm.concerns] == [("warning", "package_over_http")]
            assert source.vm(vm.id) == vm
            assert read(source, vm) == raws
            assert "plain http" in source.check()[1].detail
        with pytest.raises(InvalidRequest), opened(server.url(OVA), username="u", password="p"):
            pass


def test_nobody_answers() -> None:
    with opened("https://127.0.0.1:1/web.ova") as source:
        with pytest.raises(SourceUnavailable):
            source.inventory()
        assert [(row.name, row.ok) for row in source.check()] == [("reachable", False)]


@pytest.mark.parametrize("url", ["https://files.example/", "https://files.example/web.zip", "https://u:p@x/web.ova"])
def test_urls_that_are_no_packages(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_source(spec(url))
    assert "u:p" not in str(caught.value.to_dict())
