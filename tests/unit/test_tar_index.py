"""The members of a tar: found as Python's own reader finds them, or refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import UnsafeImage, VmferryError
from converters.tar_index import BLOCK, Member, members
from tests.packages import tar

LONG = "a-very-long-name-of-a-virtual-machine-that-somebody-thought-of-" * 3 + ".vmdk"
FILES = [("web.ovf", b"<x/>"), ("web.mf", b""), ("disk1.vmdk", b"d" * 5000), ("ü.vmdk", b"u" * 512)]


def reader(data: bytes) -> Callable[[int, int], bytes]:
    """Exact reads, in ascending order only, as a stream gives them."""
    last = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal last
        assert offset >= last
        last = offset + length
        assert last <= len(data), "a read beyond the archive"
        return data[offset:last]

    return read


def index(data: bytes, size: int | None = -1) -> list[Member]:
    return list(members(reader(data), len(data) if size == -1 else size))


def write(form: int, *infos: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(min(info.size, 1 << 20))))
    return out.getvalue()


def info(name: str, size: int = 3, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("size", [-1, None])
def test_members_are_where_they_are_said_to_be(size: int | None) -> None:
    data = tar(FILES)
    found = index(data, size)
    assert [(m.name, data[m.offset : m.offset + m.size]) for m in found] == FILES


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(form: int) -> None:
    data = write(form, info("web.ovf"), info(LONG), info("x.vmdk"))
    assert [m.name for m in index(data)] == ["web.ovf", LONG, "x.vmdk"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [(8 << 30) - 1, 8 << 30, 3 << 40])
def test_sizes_beyond_what_octal_digits_hold(form: int, size: int) -> None:
    """Only headers are read: the body is as absent here as it is unread in life."""
    header = info("big.vmdk", size).tobuf(format=form)
    padded = -(-size // BLOCK) * BLOCK
    whole = len(header) + padded + 2 * BLOCK
    seen: list[int] = []

    def read(offset: int, length: int) -> bytes:
        seen.append(length)
        return (header + bytes(BLOCK))[offset : offset + length] if offset < len(header) else bytes(length)

    assert list(members(read, whole)) == [Member("big.vmdk", len(header), size)]
    assert sum(seen) < 10_000
    with pytest.raises(UnsafeImage, match="cut"):
        list(members(read, whole - 3 * BLOCK))


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"M", b"V", b"Z", b"K"])
def test_only_plain_files(kind: bytes) -> None:
    data = write(tarfile.USTAR_FORMAT, info("web.ovf"), info("x", 0, type=kind, linkname="/etc/shadow"))
    with pytest.raises(UnsafeImage):
        index(data)


@pytest.mark.parametrize("name", ["/etc/shadow", "../x", "a/b", "..", ".", "a\\b", "./x", "a\nb"])
def test_only_plain_names(name: str) -> None:
    with pytest.raises(UnsafeImage):
        index(write(tarfile.GNU_FORMAT, info("web.ovf"), info(name)))


def test_no_member_twice() -> None:
    with pytest.raises(UnsafeImage, match="twice"):
        index(tar([("a.ovf", b""), ("a.ovf", b"x")]))


@pytest.mark.parametrize("count", [1, 2])
def test_an_end_needs_its_mark(count: int) -> None:
    header = info("web.ovf", 0).tobuf(format=tarfile.USTAR_FORMAT)
    assert index(header + bytes(2 * BLOCK)) == [Member("web.ovf", 512, 0)]
    with pytest.raises(UnsafeImage, match="cut"):
        index(header + bytes(2 * BLOCK - count * BLOCK))


def test_nothing_may_follow_the_end() -> None:
    whole = tar(FILES)
    for more in (b"x", bytes(3 << 20), whole):
        with pytest.raises(UnsafeImage, match=r"after its end|behind"):
            index(whole + more)


def test_every_cut_is_noticed() -> None:
    whole = tar(FILES)
    end = whole.rstrip(b"\0")
    for size in range(0, len(end) // BLOCK * BLOCK + BLOCK, 256):
        with pytest.raises(UnsafeImage):
            index(whole[:size])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.data())
def test_a_changed_archive_is_read_or_refused(form: int, data: st.DataObject) -> None:
    """Whatever is changed, with the checksum put right or not: our own error, or plain members inside the archive."""
    changed = bytearray(write(form, info("web.ovf"), info(LONG if form != tarfile.USTAR_FORMAT else "d.vmdk", 700)))
    for _ in range(data.draw(st.integers(1, 3))):
        block = data.draw(st.integers(0, len(changed) // BLOCK - 1)) * BLOCK
        place = block + data.draw(st.one_of(st.integers(0, 511), st.sampled_from([0, 124, 135, 156, 257, 345])))
        put = data.draw(st.one_of(st.binary(min_size=1, max_size=12), st.just(b"\x80" + b"\xff" * 11)))
        changed[place : place + len(put)] = put
        header = changed[block : block + BLOCK]
        if data.draw(st.booleans()):
            header[148:156] = b" " * 8
            changed[block + 148 : block + 156] = b"%06o\0 " % sum(header)
    try:
        found = index(bytes(changed))
    except VmferryError:
        return
    for member in found:
        assert "/" not in member.name
        assert 0 <= member.offset <= member.offset + member.size <= len(changed)
