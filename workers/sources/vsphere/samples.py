"""Whether what a disk's areas leave out reads as zeros: not proved, but tried in places nobody can foresee."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from app.ports.disks import Area, RangeReader

SAMPLES = 32
SAMPLE_BYTES = 4096


def gaps(areas: Sequence[Area], capacity: int) -> Iterator[Area]:
    """What is between areas that ascend."""
    at = 0
    for area in (*areas, Area(capacity, 0)):
        if area.offset > at:
            yield Area(at, area.offset - at)
        at = area.offset + area.length


def zeros_between(areas: Sequence[Area], capacity: int, open_reader: Callable[[], RangeReader]) -> bool:
    """Whether samples, spread evenly over what is between the areas, are zeros. Raises what the reader does."""
    left_out = list(gaps(areas, capacity))
    total = sum(gap.length for gap in left_out)
    count = min(SAMPLES, total // SAMPLE_BYTES)
    wanted = [(total * i + secrets.randbelow(total)) // count for i in range(count)]
    sample, zeros = memoryview(bytearray(SAMPLE_BYTES)), bytes(SAMPLE_BYTES)
    with closing(open_reader()) as reader:
        for place in places(left_out, wanted):
            reader.start(*place)
            reader.fill(sample[: place.length])
            if sample[: place.length] != zeros[: place.length]:
                return False
    return True


def places(left_out: Sequence[Area], wanted: Iterable[int]) -> Iterator[Area]:
    """Samples at offsets, ascending, into what the gaps make when put side by side."""
    remaining = iter(left_out)
    gap, before = next(remaining, Area(0, 0)), 0
    for offset in wanted:
        while offset >= before + gap.length:
            before += gap.length
            gap = next(remaining)
        start = (offset - before) & -512
        yield Area(gap.offset + start, min(SAMPLE_BYTES, gap.length - start))
