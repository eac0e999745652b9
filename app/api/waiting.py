"""Long polls: answer when something has changed, when the time is over, or when the service stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

T = TypeVar("T")
POLL_S = 0.3


async def until(read: Callable[[], T], enough: Callable[[T], bool], wait_s: float, stopping: Event) -> T:
    """What `read` gives when it is enough, or last."""
    deadline = time.monotonic() + wait_s
    value = await run_sync(read)
    while not (enough(value) or stopping.is_set()) and (left := deadline - time.monotonic()) > 0:
        await anyio.sleep(min(POLL_S, left))
        value = await run_sync(read)
    return value
