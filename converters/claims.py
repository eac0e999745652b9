"""Whose the places in a file are: a hostile image gives one place to two owners."""

from __future__ import annotations

import heapq
import mmap
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from converters.vmdk import refuse

BAND = 64 << 20  # how many grains are looked after at once, one byte each
_PART = 1 << 19


class Regions:
    """The places of an extent's metadata, in sectors: single regions, and tables that are all of one length.

    Raises UnsafeImage when two of them overlap.
    """

    def __init__(self, single: Iterable[tuple[int, int]], tables: Iterable[Sequence[int]], length: int) -> None:
        self._single = sorted(region for region in single if region[0] < region[1])
        self._tables = array("Q", heapq.merge(*(part for places in tables for part in _sorted(places))))
        self._length = length
        if any(end > start for (_, end), (start, _) in pairwise(self._single)):
            raise refuse("its header, descriptor and grain directories overlap")
        last = -length
        for place in self._tables:
            if place < last + length:
                raise refuse(f"two grain tables at sector {place}")
            last = place
        if any(self._meets_table(start, end) for start, end in self._single):
            raise refuse("a grain table overlaps its header, descriptor or grain directories")
        tops = [end for _, end in self._single] + [self._tables[-1] + length if self._tables else 0]
        self._end = max(tops)

    def meets(self, start: int, end: int) -> bool:
        """Whether the sectors from `start` to before `end` are metadata, one of them at least."""
        if start >= self._end:
            return False
        return self._meets_table(start, end) or any(a < end and start < b for a, b in self._single)

    def _meets_table(self, start: int, end: int) -> bool:
        before = bisect_right(self._tables, end - 1)
        return before > 0 and self._tables[before - 1] + self._length > start


def _sorted(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """In parts that are small as lists of numbers: a disk of 62 TiB has millions of tables."""
    for start in range(0, len(places), _PART):
        yield array("Q", sorted(place for place in places[start : start + _PART] if place))


class Slots:
    """Which grains of a file are taken, within one band of it.

    A file is cut into slots of a grain's size. The grain that begins in a slot leaves 1 + the sector in it where it
    begins: two grains overlap when they begin in one slot, or when the later of two neighbours begins sooner.
    """

    def __init__(self, grain: int) -> None:
        self._grain = grain
        self._taken = mmap.mmap(-1, BAND + 2)  # anonymous memory: what nobody claims is never there

    @staticmethod
    def bands(place: int, grain: int, count: int) -> tuple[int, int]:
        """The bands in which `count` grains from sector `place` on begin and end."""
        return place // grain // BAND, (place // grain + count) // BAND

    def claim(self, place: int, count: int, band: int) -> None:
        """Take `count` neighbouring grains from sector `place` on, as far as they are in this band."""
        slot, inside = divmod(place, self._grain)
        first = slot - band * BAND + 1  # the slots next to the band are looked after, too
        start, end = max(first, 0), min(first + count, BAND + 2)
        if start >= end:
            return
        taken, mark = self._taken, inside + 1
        if (
            taken[start:end].strip(b"\0")
            or (start and taken[start - 1] > mark)
            or (end < BAND + 2 and 0 < taken[end] < mark)
        ):
            raise refuse(f"two grains in one place, at or behind sector {place}")
        taken[start:end] = bytes((mark,)) * (end - start)

    def close(self) -> None:
        self._taken.close()
