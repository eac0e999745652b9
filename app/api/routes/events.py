"""Everything that happened, in order."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from app.api import streams
from app.api.deps import Given
from app.api.schemas import PageOf
from app.api.streams import MAX_ID
from app.domain.job import Event

router = APIRouter(prefix="/events", tags=["events"])


@router.get("", response_model=PageOf[Event], responses={200: {"content": {"text/event-stream": {}}}})
def list_events(
    given: Given,
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None,
    cursor: Annotated[int | None, Query(ge=0, le=MAX_ID, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    job: Annotated[str, Query(max_length=100)] = "",
    kind: Annotated[str, Query(max_length=100)] = "",
) -> PageOf[Event] | StreamingResponse:
    """A list from the beginning; live, from now on, when text/event-stream is accepted. `after` moves the start."""
    start = after if cursor is None else cursor
    events = given.store.events
    if not streams.wants_stream(request):
        return streams.listing(events, start or 0, limit, job_id=job, kind=kind)
    last = streams.last_seen(request, start)
    after = events.last_id() if last is None else last
    return streams.stream(events, after, given.stopping, job_id=job, kind=kind)
