"""Manifests survive JSON, stay compact, and notice when they were damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from workers.transfer.extents import Extent, ExtentTable
from workers.transfer.manifest import EXTENT, Manifest, digest, zero_digest


def build(capacity: int, extents: dict[int, bytes], disk: str = "2000") -> Manifest:
    table = ExtentTable(capacity)
    for index, data in extents.items():
        table.add(Extent(index, EXTENT, digest(data)))
    return table.manifest(disk, wire_bytes=5)


@given(st.integers(0, 40 * EXTENT), st.data())
def test_round_trip(capacity: int, data: st.DataObject) -> None:
    count = -(-capacity // EXTENT)
    present = data.draw(st.sets(st.integers(0, count - 1))) if count else set()
    made = build(capacity, {index: bytes([index + 1]) for index in present})
    again = Manifest.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    assert list(again.extents()) == [digest(bytes([i + 1])) if i in present else None for i in range(count)]


def test_file_round_trip(tmp_path: Path) -> None:
    made = build(3 * EXTENT, {1: b"x"})
    path = tmp_path / "disk-2000.json"
    made.save(path)
    assert Manifest.load(path) == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["disk-2000.json"]


def test_digest_is_of_the_disk_alone() -> None:
    assert build(EXTENT, {0: b"x"}).digest == build(EXTENT, {0: b"x"}, disk="other").digest
    assert build(EXTENT, {0: b"x"}).digest != build(EXTENT, {0: b"y"}).digest
    assert build(EXTENT, {}).digest != build(2 * EXTENT, {}).digest
    assert build(2 * EXTENT, {0: b"x"}).digest != build(2 * EXTENT, {1: b"x"}).digest


def test_a_tebibyte_stays_reasonable() -> None:
    capacity = 1 << 40
    full = Manifest("1", capacity, b"\xff" * (1 << 17), bytes(16 << 20), capacity, capacity, build(0, {}).created)
    assert len(json.dumps(full.to_dict())) < 24 << 20


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"algorithm": "md5"},
        {"extent_size": 4096},
        {"digest": "0" * 32},
        {"capacity": 2 * EXTENT},
        {"capacity": -1},
        {"capacity": "many"},
        {"digests": ""},
        {"digests": "!!"},
        {"present": "/w=="},
        {"present": ""},
        {"created": "yesterday"},
        {"disk": None, "present": None},
    ],
    ids=str,
)
def test_damage_is_noticed(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        Manifest.from_dict({**build(3 * EXTENT, {1: b"x"}).to_dict(), **change})


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b'"x"', b"[" * 200_000])
def test_what_is_no_manifest(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(text)
    with pytest.raises(InvalidRequest):
        Manifest.load(path)


def test_zero_digest() -> None:
    assert zero_digest(EXTENT) == digest(bytes(EXTENT)) != zero_digest(512)
