"""Room for the bytes under way, at a page's start, as direct I/O wants it."""

from __future__ import annotations

import mmap
import threading

from workers.transfer.sink import WINDOW


def window_buffer() -> memoryview:
    """WINDOW bytes."""
    return memoryview(mmap.mmap(-1, WINDOW))


class OwnBuffer(threading.local):
    """`view`: a window's buffer for each thread that asks."""

    def __init__(self) -> None:
        self.view = window_buffer()
