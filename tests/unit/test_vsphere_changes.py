"""Answers about allocated areas, taken as hostile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import PermanentError
from app.ports.disks import Area
from workers.sources.vsphere.changes import coarser, merge
from workers.sources.vsphere.samples import SAMPLE_BYTES, gaps, places

CAPACITY = 1000


def answer(start: int, length: int, *areas: tuple[int, int]) -> SimpleNamespace:
    changed = [SimpleNamespace(start=start, length=length) for start, length in areas]
    return SimpleNamespace(startOffset=start, length=length, changedArea=changed)


def test_neighbours_become_one_area_over_rounds_too() -> None:
    found: list[Area] = []
    assert merge(found, answer(0, 500, (0, 100), (100, 50), (400, 100)), 0, CAPACITY) == 500
    assert merge(found, answer(500, 500, (500, 1), (999, 1)), 500, CAPACITY) == 1000
    assert found == [Area(0, 150), Area(400, 101), Area(999, 1)]


def test_an_answer_without_areas_is_in_order() -> None:
    found: list[Area] = []
    assert merge(found, SimpleNamespace(startOffset=0, length=1000, changedArea=None), 0, CAPACITY) == 1000
    assert found == []


@pytest.mark.parametrize(
    "untrue",
    [
        answer(0, 0),
        answer(0, -5),
        answer(1, 500),
        answer(0, 1001),
        answer(0, 500, (0, 0)),
        answer(0, 500, (0, -1)),
        answer(0, 500, (-1, 10)),
        answer(0, 500, (400, 101)),
        answer(0, 500, (100, 50), (149, 10)),
        answer(0, 500, (100, 50), (0, 50)),
        answer(0, 500, (10**30, 5)),
    ],
)
def test_what_cannot_be_true_is_refused(untrue: SimpleNamespace) -> None:
    with pytest.raises(PermanentError, match="cannot be true"):
        merge([], untrue, 0, CAPACITY)


@given(st.lists(st.tuples(st.integers(-10, 1010), st.integers(-10, 1010))), st.integers(-5, 1005))
def test_what_is_taken_is_in_order(areas: list[tuple[int, int]], length: int) -> None:
    found: list[Area] = []
    try:
        end = merge(found, answer(0, length, *areas), 0, CAPACITY)
    except PermanentError:
        return
    at = -1
    for area in found:
        assert area.length > 0
        assert area.offset > at
        at = area.offset + area.length
    assert 0 < end <= CAPACITY
    assert at <= end
    left = list(gaps(found, CAPACITY))
    assert sorted([*found, *left]) == sorted({*found, *left})
    assert sum(area.length for area in (*found, *left)) == CAPACITY


def test_too_many_areas_are_joined_over_the_smallest_gaps() -> None:
    mib = 1 << 20
    areas = [Area(0, 512), Area(1024, 512), Area(mib, 512), Area(mib + 1024, 512), Area(100 * mib, 512)]
    assert coarser(areas, 5) == areas
    assert coarser(areas, 3) == [Area(0, 1536), Area(mib, 1536), Area(100 * mib, 512)]
    assert coarser(areas, 2) == [Area(0, mib + 1536), Area(100 * mib, 512)]
    assert coarser(areas, 1) == [Area(0, 100 * mib + 512)]


@given(
    st.lists(st.tuples(st.integers(1, 5 * SAMPLE_BYTES // 512), st.integers(1, 20)), min_size=1, max_size=9),
    st.lists(st.floats(0, 0.999), max_size=9),
)
def test_samples_stay_inside_the_gaps(spans: list[tuple[int, int]], wanted: list[float]) -> None:
    left_out: list[Area] = []
    at = 0
    for before, length in spans:
        left_out.append(Area(at + before * 512, length * 512))
        at += (before + length) * 512
    total = sum(gap.length for gap in left_out)
    for sample in places(left_out, sorted(int(share * total) for share in wanted)):
        assert sample.length > 0
        assert any(
            gap.offset <= sample.offset and sample.offset + sample.length <= gap.offset + gap.length for gap in left_out
        )
