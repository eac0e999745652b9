"""VMDK headers and descriptors: what VMware and qemu write is read, anything else is UnsafeImage and nothing worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import UnsafeImage
from converters.vmdk import GD_AT_END, Extent, SparseHeader, parse_descriptor
from tests.hostile.streams import descriptor, header

FLAT = b"""# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=1b7f6a2c
parentCID=FFFFFFFF
isNativeSnapshot="no"
createType="vmfs"

# Extent description
RW 16777216 VMFS "web 01 \xc3\xa4-flat.vmdk"

# Change Tracking File
changeTrackPath="web 01-ctk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "pvscsi"
ddb.uuid = "60 00 C2 9a 11 22 33 44-55 66 77 88 99 aa bb cc"
"""


def test_a_streams_descriptor() -> None:
    read = parse_descriptor(descriptor(4096).ljust(10240, b"\0"))
    assert read.create_type == "streamOptimized"
    assert read.content_id == "7c3aeb11"
    assert read.extents == (Extent(4096, "SPARSE", "call-me-stream.vmdk"),)


def test_what_a_longer_descriptor_left_behind() -> None:
    """QEMU writes a new CID over the old one and lets the old text's end lie."""
    shorter = descriptor(4096)
    assert parse_descriptor((shorter + b"\0" + shorter[-6:]).ljust(10240, b"\0")) == parse_descriptor(shorter)
    with pytest.raises(UnsafeImage, match="bytes after the descriptor's end"):
        parse_descriptor((shorter + b"\0" + b'RW 8 FLAT "b.vmdk"\n').ljust(10240, b"\0"))


def test_a_flat_disks_descriptor_with_windows_newlines() -> None:
    read = parse_descriptor(FLAT.replace(b"\n", b"\r\n"))
    assert read.extents == (Extent(16777216, "VMFS", "web 01 ä-flat.vmdk"),)
    assert read.sectors == 16777216


def test_an_extents_offset() -> None:
    line = 'RW 2048 FLAT "a-flat.vmdk" 128'
    assert parse_descriptor(descriptor(0, extent=line, kind="monolithicFlat")).extents[0].offset == 128


def test_a_descriptor_that_is_too_long() -> None:
    with pytest.raises(UnsafeImage, match="descriptor of"):
        parse_descriptor(descriptor(1) + b"# x\n" * 20_000)


def test_header_of_a_stream() -> None:
    read = SparseHeader.parse(header(163840))
    assert read.capacity_bytes == 80 << 20
    assert read.grain_bytes == 65536
    assert read.tables == 3
    assert read.directory == GD_AT_END


@pytest.mark.parametrize("size", [0, 511, 513])
def test_header_of_another_size(size: int) -> None:
    with pytest.raises(UnsafeImage):
        SparseHeader.parse(bytes(size))


@given(st.binary(max_size=600))
def test_any_bytes_as_header(data: bytes) -> None:
    with pytest.raises(UnsafeImage):
        SparseHeader.parse(data)


@given(st.integers(0, 78), st.binary(min_size=1, max_size=8))
def test_a_header_with_other_bytes(place: int, data: bytes) -> None:
    changed = bytearray(header(163840))
    changed[place : place + len(data)] = data
    try:
        read = SparseHeader.parse(bytes(changed[:512]))
    except UnsafeImage:
        return
    assert 0 < read.capacity_bytes <= 64 << 40
    assert read.grain in (8, 16, 32, 64, 128)
    assert 0 < read.overhead <= 655360


@given(st.binary(max_size=3000))
def test_any_bytes_as_descriptor(data: bytes) -> None:
    with pytest.raises(UnsafeImage):
        parse_descriptor(data)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=8), st.text(max_size=40))
def test_any_text_in_a_descriptor(lines: list[str], name: str) -> None:
    extent = f'RW 2048 SPARSE "{name}"'
    try:
        read = parse_descriptor(descriptor(2048, extent=extent, more="\n".join(lines)))
    except UnsafeImage:
        return
    for found in read.extents:
        assert not set(found.name) & set("/\\:\0\n")
        assert found.name not in ("", ".", "..")
