"""Live events: server-sent events from the same table as the lists, resumed after the last id that was seen."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import anyio
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event

from app.api.schemas import PageOf
from app.domain.errors import InvalidRequest
from app.domain.job import Event
from app.store.events import Events

POLL_S = 0.3
QUIET_S = 15.0  # a comment keeps proxies from closing an idle stream
BATCH = 200
MAX_ID = (1 << 63) - 1


def wants_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def last_seen(request: Request, after: int | None) -> int | None:
    """Last-Event-ID of a stream that goes on, else `after`. Raises InvalidRequest."""
    text = request.headers.get("last-event-id", "")
    if not text:
        return after
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > MAX_ID:
        raise InvalidRequest("Last-Event-ID is the number of an event", pointer="Last-Event-ID")
    return int(text)


def listing(
    events: Events, after: int, limit: int, *, job_id: str = "", plan_id: str = "", kind: str = ""
) -> PageOf[Event]:
    found = events.after(after, job_id=job_id, plan_id=plan_id, kind=kind, limit=limit + 1)
    more = len(found) > limit
    return PageOf(items=found[:limit], next_cursor=str(found[limit - 1].id) if more else None)


def stream(
    events: Events,
    after: int,
    stopping: threading.Event,
    *,
    job_id: str = "",
    plan_id: str = "",
    kind: str = "",
    ended: Callable[[], bool] = lambda: False,
) -> StreamingResponse:
    """Ends when `ended` says so and everything has been sent, or when `stopping` is set; else with the connection."""

    read = partial(events.after, job_id=job_id, plan_id=plan_id, kind=kind, limit=BATCH)

    async def lines() -> AsyncIterator[bytes]:
        last, told = after, time.monotonic()
        yield format_sse_event(comment="connected", retry=2000)
        while True:
            over = await run_sync(ended)  # asked before reading, so that nothing said before the end is missed
            found = await run_sync(read, last)
            for event in found:
                last, told = event.id, time.monotonic()
                yield format_sse_event(id=str(event.id), data_str=event.model_dump_json())
            if len(found) == BATCH:
                continue
            if over or stopping.is_set():
                return
            if time.monotonic() - told > QUIET_S:
                told = time.monotonic()
                yield format_sse_event(comment="still here")
            await anyio.sleep(POLL_S)

    return EventSourceResponse(lines(), headers={"X-Accel-Buffering": "no"})
