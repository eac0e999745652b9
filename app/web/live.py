"""Pages that change while they are looked at: parts of them as HTML, in server-sent events.

A part is sent as it is now, whatever happened in between: who was away for long gets no more than who was not.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import NamedTuple

import anyio
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event

from app.api import streams
from app.api.deps import Services
from app.web.access import session_text

POLL_S = 0.5
REST = 5  # times as long as it took to see what is new: who looks costs a sixth of a core at most
MESSAGE = 4000
STILL_IN_S = 60.0  # how often is asked whether the session is still one


class News(NamedTuple):
    """`last`: the newest event that is in it. `parts`: id of an element → what is to be in it."""

    last: int
    parts: Mapping[str, str]
    more: Mapping[str, str] = {}  # id of an element → what is to be added at its end


def stream(request: Request, given: Services, after: int, news: Callable[[int], News | None]) -> StreamingResponse:
    """`news`: what is new after an event, or None. It ends with the session, or when the service stops."""
    start = streams.last_seen(request, after) or 0
    text = session_text(request.headers)

    async def events() -> AsyncIterator[bytes]:
        last, told, asked = start, time.monotonic(), time.monotonic()
        sent: dict[str, str] = {}
        yield format_sse_event(comment="connected", retry=2000)
        while not given.stopping.is_set():
            if time.monotonic() - asked > STILL_IN_S:
                asked = time.monotonic()
                if await run_sync(given.store.sessions.check, text) is None:
                    return
            begun = time.monotonic()
            found = await run_sync(news, last)
            spent = time.monotonic() - begun
            if found is not None:
                last = found.last
                changed = {name: html for name, html in found.parts.items() if sent.get(name) != html}
                sent |= changed
                messages = _messages(changed, found.more)
                for number, some in enumerate(messages, start=1):
                    told = time.monotonic()
                    seen = str(last) if number == len(messages) else None  # who is cut off before has not seen it all
                    yield format_sse_event(event="change", id=seen, data_str=some)
            if time.monotonic() - told > streams.QUIET_S:
                told = time.monotonic()
                yield format_sse_event(comment="still here")
            await anyio.sleep(max(POLL_S, spent * REST))

    return EventSourceResponse(events(), headers={"X-Accel-Buffering": "no"})


def _messages(parts: Mapping[str, str], more: Mapping[str, str]) -> list[str]:
    """All of it in messages of no more than MESSAGE characters, but for a single part that is larger."""
    messages: list[str] = []
    for swap in (*_swaps(parts.items(), "innerHTML"), *_swaps(more.items(), "beforeend")):
        if messages and len(messages[-1]) + len(swap) <= MESSAGE:
            messages[-1] += swap
        else:
            messages.append(swap)
    return messages


def _swaps(parts: Iterable[tuple[str, str]], how: str) -> Iterable[str]:
    return (f'<div id="{name}" hx-swap-oob="{how}">{html}</div>' for name, html in parts)
