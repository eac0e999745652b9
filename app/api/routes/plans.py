"""Plans: many VMs, in waves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api import streams
from app.api.deps import Given, Paged
from app.api.plan_schemas import Approval, ImportOut, ItemOut, PlanDocument, PlanOut, PlanRollback, Retry
from app.api.plan_views import import_out, item_out, plan_out
from app.api.problems import PreconditionFailed
from app.api.schemas import PageOf
from app.api.streams import MAX_ID
from app.domain.errors import InvalidRequest, NotFound
from app.domain.job import Event
from app.domain.plan import ItemState, PlanName
from app.domain.plan_state import ENDED
from app.services.plan_standing import Standing
from app.services.planning.rows import Asked
from app.services.plans import Plans

router = APIRouter(prefix="/plans", tags=["plans"])

Filter = Annotated[str, Query(max_length=500)]
IfMatch = Annotated[str, Header(max_length=100, description='The `ETag` that the plan must have, or "*".')]
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}, "description": "The file"}
}


@router.get("")
def list_plans(given: Given, page: Paged) -> PageOf[PlanOut]:
    found = given.plans.list(page)
    return PageOf(items=[plan_out(item) for item in found.items], next_cursor=found.next)


@router.get("/template", response_class=Response, responses=_FILE)
def show_template(given: Given, source: Filter, target: Filter = "") -> Response:
    """A workbook to fill in: a row for each VM of the source, with drop-down lists of what is registered."""
    return _file(given.plans.template(source, target), "plan.xlsx", XLSX)


@router.get("/{ref}")
def show_plan(ref: str, given: Given, response: Response) -> PlanOut:
    return _shown(given.plans.get(ref), response)


@router.put("/{name}")
def put_plan(
    name: PlanName,
    document: PlanDocument,
    given: Given,
    response: Response,
    dry_run: bool = False,
    remove_missing: bool = False,
    if_match: IfMatch = "",
    if_none_match: IfMatch = "",
) -> ImportOut:
    """Make the plan what the document says (201, or 200 where it was there). The same again changes nothing.

    With `dry_run` nothing is stored, and errors are told in the answer.
    """
    wanted, asked = document.wanted(), Asked(remove_missing=remove_missing)
    expected = _expected(given.plans, name, if_match, if_none_match)
    if dry_run:
        return import_out(name, given.plans.version(name), given.plans.check(name, wanted, asked))
    saved = given.plans.save(
        name, wanted, asked, update=if_none_match != "*", description=document.description, expected=expected
    )
    response.status_code = 201 if saved.made else 200
    response.headers["Location"] = f"/v1/plans/{saved.plan.id}"
    response.headers["ETag"] = f'"{saved.plan.version}"'
    return import_out(name, saved.plan.version, saved.checked)


@router.delete("/{ref}", status_code=204)
def remove_plan(ref: str, given: Given) -> None:
    """Forgets it; what was moved stays, and so do its jobs. 409 while something of it moves."""
    given.plans.remove(ref)


@router.get("/{ref}/export", response_class=Response, responses=_FILE)
def export_plan(ref: str, given: Given, format: Literal["xlsx", "csv"] = "xlsx") -> Response:
    """The plan as a sheet, with what became of each VM. It can be imported again."""
    name, content = given.plans.export(ref, format)
    return _file(content, f"{name}.{format}", XLSX if format == "xlsx" else "text/csv; charset=utf-8")


@router.get("/{ref}/items")
def list_items(
    ref: str,
    given: Given,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str, Query(max_length=500, description="`next_cursor` of the page before.")] = "",
    wave: Filter = "",
    state: Annotated[list[ItemState] | None, Query()] = None,
    text: Filter = "",
) -> PageOf[ItemOut]:
    """In their order. `state` may be given more than once; `text` is a part of what its row says."""
    found = given.plans.items(ref, wave=wave, states=state or (), text=text, after=cursor, limit=limit)
    return PageOf(items=[item_out(ref, item) for item in found.items], next_cursor=found.next)


@router.get("/{ref}/items/{key:path}")
def show_item(ref: str, key: str, given: Given) -> ItemOut:
    return item_out(ref, given.plans.item(ref, key))


@router.get("/{ref}/events", response_model=PageOf[Event], responses={200: {"content": {"text/event-stream": {}}}})
def plan_events(
    ref: str,
    given: Given,
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None,
    cursor: Annotated[int | None, Query(ge=0, le=MAX_ID, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    kind: Filter = "",
) -> PageOf[Event] | StreamingResponse:
    """The plan's own and those of its jobs, from the beginning; live, from now on and until the plan has ended, when
    text/event-stream is accepted. `after` moves the start.
    """
    plan = given.store.plans.get(ref)
    start = after if cursor is None else cursor
    events = given.store.events
    if not streams.wants_stream(request):
        return streams.listing(events, start or 0, limit, plan_id=plan.id, kind=kind)

    def ended() -> bool:
        try:
            return given.store.plans.get(plan.id).state in ENDED
        except NotFound:
            return True

    last = streams.last_seen(request, start)
    after = events.last_id() if last is None else last
    return streams.stream(events, after, given.stopping, plan_id=plan.id, kind=kind, ended=ended)


@router.post("/{ref}/start", status_code=202)
def start_plan(ref: str, given: Given, response: Response, dry_run: bool = False) -> PlanOut:
    """Let it run. With `dry_run` (200) nothing is done, and `would_start` has what would be started at once."""
    if dry_run:
        response.status_code = 200
        return plan_out(given.plans.get(ref), given.plans.would_start(ref))
    return _shown(given.plans.start(ref), response)


@router.post("/{ref}/pause", status_code=202)
def pause_plan(ref: str, given: Given, response: Response) -> PlanOut:
    """Nothing new is started; what moves goes on to its end."""
    return _shown(given.plans.pause(ref), response)


@router.post("/{ref}/resume", status_code=202)
def resume_plan(ref: str, given: Given, response: Response) -> PlanOut:
    """What failed until now no longer counts for `stop_after`."""
    return _shown(given.plans.resume(ref), response)


@router.post("/{ref}/cancel", status_code=202)
def cancel_plan(ref: str, given: Given, response: Response) -> PlanOut:
    """What moves is stopped and undone, and nothing more is started. What has been moved stays."""
    return _shown(given.plans.cancel(ref), response)


@router.post("/{ref}/retry", status_code=202)
def retry_plan(ref: str, given: Given, response: Response, body: Retry = Retry()) -> PlanOut:  # noqa: B008
    """What failed, was cancelled or is held goes again, and the plan runs."""
    return _shown(given.plans.retry(ref, body.items), response)


@router.post("/{ref}/rollback", status_code=202)
def roll_back_plan(ref: str, given: Given, response: Response, body: PlanRollback = PlanRollback()) -> PlanOut:  # noqa: B008
    """Undo what has ended, and stop what moves."""
    standing = given.plans.roll_back(ref, wave=body.wave, keys=body.items, confirm_data_loss=body.confirm_data_loss)
    return _shown(standing, response)


@router.post("/{ref}/approve", status_code=202)
def approve_wave(ref: str, given: Given, response: Response, body: Approval) -> PlanOut:
    """Open the gate before a wave."""
    return _shown(given.plans.approve(ref, body.wave), response)


def _shown(standing: Standing, response: Response) -> PlanOut:
    response.headers["ETag"] = f'"{standing.plan.version}"'
    if response.status_code == 202:
        response.headers["Location"] = f"/v1/plans/{standing.plan.id}"
    return plan_out(standing)


def _file(content: bytes, name: str, media_type: str) -> Response:
    plain = "".join(char if char.isascii() and (char.isalnum() or char in " ._-") else "_" for char in name)
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{plain}"'})


def _expected(plans: Plans, name: str, if_match: str, if_none_match: str) -> int | None:
    """The version that a change may be made to; None: any. Raises PreconditionFailed, InvalidRequest."""
    version = plans.version(name) if if_match or if_none_match else 0
    if if_none_match:
        if if_none_match != "*":
            raise InvalidRequest("If-None-Match takes * only", pointer="If-None-Match")
        if version:
            raise PreconditionFailed(f"there is a plan {name} already", "Leave If-None-Match out to change it.")
    if not if_match:
        return None
    if not version or if_match not in ("*", f'"{version}"'):
        is_now = f"at version {version}" if version else "not there"
        raise PreconditionFailed(f"plan {name} is {is_now}", "Look at it as it is now, and repeat with its ETag.")
    return version
