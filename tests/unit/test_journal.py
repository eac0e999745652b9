"""A journal says what is on the target, after whatever a crash did to its end, and of no other source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import TransientError
from workers.transfer.extents import Extent
from workers.transfer.journal import Journal
from workers.transfer.manifest import EXTENT, digest

SIZE = 10 * EXTENT + 512


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.journal"


def resumed(path: Path, identity: str = "disk 1", capacity: int = SIZE) -> Journal:
    journal = Journal.resume(path, identity, capacity)
    assert journal is not None
    return journal


def written(path: Path) -> None:
    with Journal.create(path, "disk 1", SIZE) as journal:
        journal.commit([Extent(3, 65536, digest(b"x")), Extent(0, 0, None)], 70_000)
        journal.commit([Extent(10, 512, digest(b"y"))], 80_000)


def test_what_was_committed_is_known(path: Path) -> None:
    written(path)
    with resumed(path) as journal:
        table = journal.table
        assert [index for index in range(table.count) if table.known(index)] == [0, 3, 10]
        assert (table.digest(0), table.digest(3), table.digest(10)) == (None, digest(b"x"), digest(b"y"))
        assert table.data_bytes == 65536 + 512
        assert table.known_bytes == 2 * EXTENT + 512
        assert journal.wire_bytes == 80_000


def test_it_goes_on_where_it_was(path: Path) -> None:
    written(path)
    with resumed(path) as journal:
        journal.commit([Extent(5, EXTENT, digest(b"z"))], 90_000)
    with resumed(path) as journal:
        assert journal.table.known(5)
        assert journal.table.known(10)


@given(st.integers(0, 32 * 5), st.binary(max_size=80))
def test_a_torn_end_is_cut_off(tmp_path_factory: pytest.TempPathFactory, kept: int, rubbish: bytes) -> None:
    path = tmp_path_factory.mktemp("torn") / "disk.journal"
    written(path)
    data = path.read_bytes()
    head = data.index(b"\n") + 1
    path.write_bytes(data[: head + min(kept, len(data) - head)] + rubbish)
    with resumed(path) as journal:
        known = [index for index in range(journal.table.count) if journal.table.known(index)]
        assert set(known) <= {0, 3, 10}
        assert len(known) >= min(2, kept // 32)
        journal.commit([Extent(7, EXTENT, digest(b"z"))], 90_000)
    with resumed(path) as journal:
        assert journal.table.known(7)


def test_a_flipped_bit_ends_it(path: Path) -> None:
    written(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\n") + 1 + 20] ^= 1
    path.write_bytes(data)
    with resumed(path) as journal:
        assert journal.table.known_bytes == 0


@pytest.mark.parametrize(("identity", "capacity"), [("disk 2", SIZE), ("disk 1", SIZE + 512), ("disk 1 ", SIZE)])
def test_another_source_is_never_mixed_in(path: Path, identity: str, capacity: int) -> None:
    written(path)
    assert Journal.resume(path, identity, capacity) is None


def test_none_is_there(path: Path) -> None:
    assert Journal.resume(path, "disk 1", SIZE) is None
    assert not path.exists()


def test_two_copies_cannot_use_it(path: Path) -> None:
    with Journal.create(path, "disk 1", SIZE):
        with pytest.raises(TransientError, match="in use"):
            Journal.resume(path, "disk 1", SIZE)
        with pytest.raises(TransientError, match="in use"):
            Journal.create(path, "disk 1", SIZE)
    resumed(path).close()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        Journal.create(path, "disk 1", SIZE)
    assert (tmp_path / "precious").read_text() == "kept"


def test_it_is_readable_by_its_owner_only(path: Path) -> None:
    written(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
