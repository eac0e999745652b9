"""Plans: all of them, and one with its waves and a row for each VM."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from app.api.deps import Given
from app.api.routes.plans import XLSX
from app.api.streams import MAX_ID
from app.domain.errors import Conflict, InvalidRequest, VmferryError
from app.domain.plan import ItemState, Plan
from app.store.paging import PageRequest
from app.web import live
from app.web.plan_view import parts_of, plan_news, plan_parts
from app.web.render import page

router = APIRouter(prefix="/plans")

Text = Annotated[str, Query(max_length=500)]
Field = Annotated[str, Form(max_length=500)]


@router.get("")
def list_plans(request: Request, given: Given, cursor: Annotated[str, Query(max_length=2000)] = "") -> HTMLResponse:
    found = given.plans.list(PageRequest(30, cursor))
    return page(request, "plans", found=found.items, next=found.next)


@router.get("/{name}")
def show_plan(
    request: Request,
    given: Given,
    name: str,
    wave: Text = "",
    state: ItemState | Literal[""] = "",
    text: Text = "",
) -> HTMLResponse:
    after = given.store.events.last_id()  # before all else is read: what happens meanwhile is sent once more
    it = given.plans.get(name)
    found = given.plans.items(
        it.plan.id, wave=wave, states=[ItemState(state)] if state else [], text=text.strip()
    ).items
    return page(
        request,
        "plan",
        it=it,
        part=plan_parts(it, given),
        parts=parts_of(it, found, given),
        shown=len(found),
        wave=wave,
        state=state,
        text=text,
        after=after,
    )


@router.get("/{name}/live")
def watch_plan(
    request: Request,
    given: Given,
    name: str,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> StreamingResponse:
    plan = given.store.plans.get(name)
    return live.stream(request, given, after, lambda last: plan_news(plan.id, given, last))


@router.get("/{name}/items/{key}", response_model=None)
def show_item(request: Request, given: Given, name: str, key: str) -> HTMLResponse | RedirectResponse:
    """A VM that was started has a page as a move; before that it has what is planned."""
    one = given.plans.item(name, key)
    if one.job:
        return RedirectResponse(f"/jobs/{one.job.id}", 303)
    plan, item = given.store.plans.get(name), one.item
    why, planned = "", None
    try:
        planned = given.jobs.dry_run(item.source, item.vm_id, item.target, item.options)
        listed = given.store.inventory.find(given.store.sources.get(item.source).id, item.vm_id)
    except VmferryError as error:
        why, listed = error.message, None
    needs = {needed.key: needed.vm_name for needed in given.store.plans.items(plan.id, keys=item.depends_on)}
    return page(request, "item", plan=plan, one=one, item=item, planned=planned, listed=listed, why=why, needs=needs)


@router.post("/{name}/items")
def ask_of_items(
    given: Given,
    name: str,
    verb: Annotated[Literal["retry", "cancel", "rollback"], Form()],
    key: Annotated[tuple[str, ...], Form(max_length=10000)] = (),
    confirm_data_loss: Field = "",
) -> RedirectResponse:
    plan = given.store.plans.get(name)
    if not key:
        raise InvalidRequest("no VM was chosen", "Go back and tick those that you mean.", code="nothing_chosen")
    match verb:
        case "retry":
            given.plans.retry(plan.id, key)
        case "rollback":
            given.plans.roll_back(plan.id, keys=key, confirm_data_loss=confirm_data_loss == "yes")
        case "cancel":
            _cancel(given, plan, key)
    return _to(plan)


@router.post("/{name}/approve")
def approve_wave(given: Given, name: str, wave: Field) -> RedirectResponse:
    return _to(given.plans.approve(name, wave).plan)


@router.post("/{name}/remove")
def remove_plan(given: Given, name: str) -> RedirectResponse:
    given.plans.remove(name)
    return RedirectResponse("/plans", 303)


@router.post("/{name}/rollback")
def roll_plan_back(given: Given, name: str, wave: Field = "", confirm_data_loss: Field = "") -> RedirectResponse:
    return _to(given.plans.roll_back(name, wave=wave, confirm_data_loss=confirm_data_loss == "yes").plan)


@router.post("/{name}/{verb}")
def ask_of_plan(
    given: Given, name: str, verb: Literal["start", "pause", "resume", "cancel", "retry"]
) -> RedirectResponse:
    verbs = {
        "start": given.plans.start,
        "pause": given.plans.pause,
        "resume": given.plans.resume,
        "cancel": given.plans.cancel,
        "retry": given.plans.retry,
    }
    return _to(verbs[verb](name).plan)


def _cancel(given: Given, plan: Plan, keys: tuple[str, ...]) -> None:
    """Those of the chosen that are under way. Raises Conflict when none is."""
    found = given.store.plans.items(plan.id, keys=keys)
    cancelled = 0
    for item in found:
        try:
            given.jobs.cancel(item.job)
            cancelled += 1
        except Conflict:  # it has ended meanwhile
            continue
    if not cancelled:
        raise Conflict("none of the chosen VMs is under way", "Only a move that waits or runs can be cancelled.")


def _to(plan: Plan) -> RedirectResponse:
    return RedirectResponse(f"/plans/{quote(plan.name)}", 303)


@router.get("/{name}/export.{kind}")
def export_plan(given: Given, name: str, kind: Literal["xlsx", "csv"]) -> Response:
    said, content = given.plans.export(name, kind)
    types = {"xlsx": XLSX, "csv": "text/csv; charset=utf-8"}
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(said)}.{kind}"}
    return Response(content, media_type=types[kind], headers=headers)
