"""Any sparse disk that is written honestly is read as it was meant, and any damage is refused or harmless."""

from __future__ import annotations

import itertools
import random
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import VmferryError
from app.ports.disks import Area
from converters.folder import Folder
from converters.vmdk import CREATE_TYPES, Descriptor, Extent, parse_descriptor
from converters.vmdk_disk import VmdkDisk, open_vmdk
from tests.hostile.corpus import HONEST
from tests.hostile.sparse_files import Hosted, cowd, se_sparse, text

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters='/\\:"\x7f\ufffd', exclude_categories=["C"]), min_size=1
)
PLAIN = NAMES.filter(lambda name: name.strip(".") and len(name.encode()) < 200)
SECTORS = 4096 * 9 + 3
SLOW = settings(deadline=None, max_examples=60)


def read(disk: VmdkDisk) -> bytes:
    out = bytearray(disk.capacity)
    reader = disk.open_reader()
    reader.start(0, len(out))
    for start in range(0, len(out), 700_001):
        reader.fill(memoryview(out)[start : start + 700_001])
    return bytes(out)


def model(size: int, grains: dict[int, bytes]) -> bytes:
    out = bytearray(-(-SECTORS * 512 // size) * size)
    for number, data in grains.items():
        out[number * size : (number + 1) * size] = data
    return bytes(out[: SECTORS * 512])


@dataclass(repr=False)
class Made:
    """A disk's files, and what is on it; not to be shown byte by byte."""

    files: dict[str, bytes]
    content: bytes

    def __repr__(self) -> str:
        return f"a disk in {sorted(self.files)}"


@st.composite
def disks(draw: st.DrawFn) -> Made:
    kind = draw(st.sampled_from(["hosted", "small grains", "cowd", "se_sparse"]))
    grain = {"hosted": 128, "small grains": 8, "cowd": draw(st.sampled_from([1, 8, 128])), "se_sparse": 8}[kind]
    count = -(-SECTORS // grain)
    numbers = draw(st.lists(st.integers(0, count - 1), max_size=40, unique=True))
    source = random.Random(draw(st.integers(0, 99)))
    grains = {number: source.randbytes(grain * 512) for number in numbers}
    zeros = draw(st.sets(st.integers(0, count - 1), max_size=5)) - grains.keys() if "cowd" not in kind else set()
    line, name = {"cowd": ("VMFSSPARSE", "vmfsSparse"), "se_sparse": ("SESPARSE", "seSparse")}.get(kind, ("", ""))
    if line:
        part = cowd(SECTORS, grains, grain) if kind == "cowd" else se_sparse(SECTORS, grains, zeros)
        described = text(name, f'RW {SECTORS} {line} "part"')
        files = {"disk.vmdk": described, "part": bytes(part)}
    else:
        described = text("monolithicSparse", f'RW {SECTORS} SPARSE "disk.vmdk"')
        files = {"disk.vmdk": bytes(Hosted(SECTORS, grains, described, zeros, grain).write())}
    return Made(files, model(grain * 512, grains))


@SLOW
@given(disks())
def test_honest_disks(made: Made) -> None:
    content = made.content
    with tempfile.TemporaryDirectory() as name:
        for file, data in made.files.items():
            Path(name, file).write_bytes(data)
        with Folder(Path(name)) as folder, open_vmdk(folder, "disk.vmdk") as disk:
            assert read(disk) == content
            areas = list(disk.areas())
        assert all(a.offset + a.length < b.offset for a, b in itertools.pairwise(areas))
        assert overlay(content, areas) == content


def overlay(content: bytes, areas: list[Area]) -> bytes:
    out = bytearray(len(content))
    for offset, length in areas:
        out[offset : offset + length] = content[offset : offset + length]
    return bytes(out)


@SLOW
@given(disks(), st.data())
def test_damaged_disks(made: Made, data: st.DataObject) -> None:
    """Nothing but our own errors comes of it, and no byte of another grain's."""
    files = {name: bytearray(content) for name, content in made.files.items()}
    damaged = files[data.draw(st.sampled_from(sorted(files)))]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, min(len(damaged), 40_000)))
        damaged[start : start + 8] = data.draw(st.binary(min_size=0, max_size=8))
    damage_is_ours(files)


@SLOW
@given(st.data())
def test_damaged_streams(data: st.DataObject) -> None:
    image = bytearray(HONEST.write())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(-4096, 4096))
        image[start] = data.draw(st.integers(0, 255))
    damage_is_ours({"disk.vmdk": image})


def damage_is_ours(files: dict[str, bytearray]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            Path(name, file).write_bytes(content)
        with suppress(VmferryError), Folder(Path(name)) as folder, open_vmdk(folder, "disk.vmdk") as disk:
            if disk.capacity < 1 << 30:
                read(disk)
            list(disk.areas())


@given(
    st.sampled_from(sorted(CREATE_TYPES)),
    st.lists(st.tuples(st.integers(1, 1 << 30), PLAIN), min_size=1, max_size=4, unique_by=lambda line: line[1]),
    st.integers(0, 0xFFFFFFFE),
    st.none() | PLAIN,
)
def test_descriptors(kind: str, lines: list[tuple[int, str]], cid: int, parent: str | None) -> None:
    extent_type, several = CREATE_TYPES[kind]
    lines = lines if several else lines[:1]
    if extent_type in ("FLAT", "VMFS"):
        parent = None
    written = text(
        kind,
        *(f'RW {sectors} {extent_type} "{name}"' for sectors, name in lines),
        cid=f"{cid:x}",
        parent=parent or "",
        parent_cid="1234" if parent else "ffffffff",
    )
    assert parse_descriptor(written) == Descriptor(
        create_type=kind,
        content_id=f"{cid:x}",
        extents=tuple(Extent(sectors, extent_type, name) for sectors, name in lines),
        parent=parent or "",
        parent_content_id="1234" if parent else "ffffffff",
    )


@given(st.data())
def test_damaged_descriptors(data: st.DataObject) -> None:
    written = bytearray(text("twoGbMaxExtentSparse", 'RW 9 SPARSE "a"', 'RW 9 SPARSE "b"', parent="c", parent_cid="1"))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(written)))
        written[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    with suppress(VmferryError):
        found = parse_descriptor(bytes(written))
        for name in (*(extent.name for extent in found.extents), found.parent):
            assert not set(name) & set("/\\:\0\n")
            assert name not in (".", "..")
