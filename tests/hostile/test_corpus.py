"""Every lie is refused with the right error, quickly, and without memory growing with the lie."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.errors import TransferInterrupted, UnsafeImage
from app.process import run
from converters.vmdk_stream import StreamReader
from tests.hostile import corpus
from tests.hostile.streams import Memory, leading
from tests.hostile.watching import peak

CASES = list(corpus.cases())


def test_the_honest_stream_is_read() -> None:
    assert corpus.decode(corpus.WHOLE) == corpus.DISK


def test_the_honest_stream_with_leading_tables_is_read() -> None:
    small = corpus.DISK[: 32 << 20]
    reader = StreamReader(Memory(leading(small)), len(small))
    out = bytearray(len(small))
    for grain in reader:
        out[grain.offset : grain.offset + 65536] = reader.inflate(grain)
    assert out == small


def test_the_corpus_is_large_and_named() -> None:
    assert len(CASES) >= 100
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("stream", "error"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused(stream: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        corpus.decode(stream)
    assert type(caught.value) is error


def test_every_truncation_is_noticed() -> None:
    for size in range(0, len(corpus.WHOLE), 16381):
        with pytest.raises(TransferInterrupted):
            corpus.decode(corpus.WHOLE[:size])


def test_memory_stays_bounded() -> None:
    """In a process of its own: nothing of the corpus may make the reader take more than a few MiB."""
    done = run([sys.executable, "-m", "tests.hostile.test_corpus"], timeout=300)
    assert int(done.text) < 24 << 20


def grown() -> int:
    """Bytes by which reading every case, without keeping what it yields, raised this process's peak."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use
    before = peak()
    for _, stream, _ in CASES:
        with suppress(UnsafeImage, TransferInterrupted):
            reader = StreamReader(Memory(stream), corpus.CAPACITY)
            for grain in reader:
                reader.inflate(grain)
    return peak() - before


if __name__ == "__main__":
    print(grown())
