"""A new plan on one page: of a sheet, or of VMs picked from the inventory; checked while it is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, Literal, cast
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from app.api.deps import Given, Services
from app.api.routes.plans import XLSX
from app.domain.errors import Conflict, InvalidRequest, PlanRefused, VmferryError
from app.domain.plan import PlanName, Problem, WantedPlan, Wave
from app.services.assessments import Assessment, Verdict
from app.services.planning.report import Checked
from app.services.planning.rows import Asked
from app.store.paging import MAX_LIMIT, Page, PageRequest
from app.web.drafts import Draft, Drafts
from app.web.mapping import Chosen, left_out, tables, with_chosen
from app.web.render import page

router = APIRouter(prefix="/plans/new")

Text = Annotated[str, Query(max_length=500)]
SHOWN = 200  # VMs of the inventory at once
MOST_FIELDS = 25_000  # of a form: 10,000 VMs that were ticked
_ALL = PageRequest(MAX_LIMIT)
_NAME: TypeAdapter[str] = TypeAdapter(PlanName)
_WAVE = ("name", "starts_at", "ends_at", "at_once", "stop_after", "gate")


@router.get("")
def start(
    request: Request,
    given: Given,
    plan: Text = "",
    source: Text = "",
    target: Text = "",
    text: Text = "",
    verdict: Verdict | Literal[""] = "",
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> HTMLResponse:
    return _start(request, given, plan, source=source, target=target, text=text, verdict=verdict, cursor=cursor)


@router.post("/sheet")
async def take_sheet(request: Request, given: Given) -> Response:
    async with request.form(max_files=1, max_fields=10) as form:
        sheet, plan = form.get("sheet"), str(form.get("plan", ""))
        if not isinstance(sheet, UploadFile) or not sheet.filename:
            wrong = InvalidRequest("no sheet was chosen", "Choose a file first.")
            return _start(request, given, plan, wrong=wrong, status=422)
        filename, data = PurePath(sheet.filename.replace("\\", "/")).name[:200], await sheet.read()
    draft = Draft("", filename, data)
    try:
        await run_sync(draft.wanted)
    except InvalidRequest as error:
        return _start(request, given, plan, wrong=error, status=422)
    kept = await run_sync(Drafts(given.settings).keep, filename, data)
    return RedirectResponse(f"/plans/new/{kept.id}" + (f"?plan={quote(plan)}" if plan else ""), 303)


@router.post("/vms")
async def take_vms(request: Request, given: Given) -> Response:
    form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    ids = [str(value).partition("/") for value in form.getlist("vm")]
    plan = str(form.get("plan", ""))
    if not ids:
        wrong = InvalidRequest("no VM was ticked", "Tick those that shall move.")
        return _start(request, given, plan, wrong=wrong, status=422)
    picked = await run_sync(_picked, given, [(source, vm_id) for source, _, vm_id in ids], _field(form, "target"))
    return RedirectResponse(f"/plans/new/{picked.id}" + (f"?plan={quote(plan)}" if plan else ""), 303)


@router.get("/template.xlsx")
def get_template(given: Given, source: Annotated[str, Query(max_length=500)], target: Text = "") -> Response:
    headers = {"Content-Disposition": 'attachment; filename="plan.xlsx"'}
    return Response(given.plans.template(source, target), media_type=XLSX, headers=headers)


@router.get("/{draft_id}")
def show_draft(request: Request, given: Given, draft_id: str, plan: Text = "") -> HTMLResponse:
    draft = Drafts(given.settings).get(draft_id)
    return _draft(request, given, draft, FormData({"plan": plan, "name": plan or draft.name}), fresh=True)


@router.get("/{draft_id}/annotated.xlsx")
def get_annotated(given: Given, draft_id: str, source: Text = "") -> Response:
    draft = Drafts(given.settings).get(draft_id)
    content = given.plans.annotated(draft.data, draft.filename, "", Asked(source=source))
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(draft.name or 'plan')}-checked.xlsx"}
    return Response(content, media_type=XLSX, headers=headers)


@router.post("/{draft_id}")
async def answer_draft(request: Request, given: Given, draft_id: str) -> Response:
    """Checks again; with do=make it becomes a plan, if there are no errors."""
    form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    draft = await run_sync(Drafts(given.settings).get, draft_id)
    if form.get("do") == "make":
        return await run_sync(_make, request, given, draft, form)
    return await run_sync(lambda: _draft(request, given, draft, form))


def _start(
    request: Request,
    given: Services,
    plan: str,
    *,
    source: str = "",
    target: str = "",
    text: str = "",
    verdict: Verdict | Literal[""] = "",
    cursor: str = "",
    wrong: VmferryError | None = None,
    status: int = 200,
) -> HTMLResponse:
    sources, targets = given.store.sources.list(_ALL).items, given.store.targets.list(_ALL).items
    source = source or (sources[0].name if sources else "")
    looked_at = [item for item in targets if item.facts]
    target = target or (looked_at[0].name if looked_at else "")
    found: Page[Assessment] = Page([], None)
    why = ""
    if source and target:
        try:
            found = given.assessments.list(
                PageRequest(SHOWN, cursor), source=source, target=target, text=text.strip(), verdict=verdict or None
            )
        except VmferryError as error:
            why = f"{error.message}. {error.remedy}"
    return page(
        request,
        "new",
        status,
        sources=sources,
        targets=targets,
        source=source,
        target=target,
        text=text,
        verdict=verdict,
        verdicts=("ready", "with_warnings", "blocked"),
        found=found,
        why=why,
        plan=plan,
        wrong=wrong,
    )


def _picked(given: Services, ids: list[tuple[str, str]], target: str) -> Draft:
    """Raises NotFound for a source that is gone; a VM that is gone is told by the check."""
    names: dict[tuple[str, str], str] = {}
    sources = {source: given.store.sources.get(source) for source, _ in ids}
    for source in sources.values():
        names |= {(source.id, vm.id): vm.name for vm in given.store.inventory.known(source.id)}
    return Drafts(given.settings).pick(
        [(sources[ref].name, vm_id, names.get((sources[ref].id, vm_id), vm_id)) for ref, vm_id in ids], target
    )


def _make(request: Request, given: Services, draft: Draft, form: FormData) -> Response:
    name, update = _field(form, "name"), bool(_field(form, "plan"))
    asked = _asked(form)
    if _taken(given, name, _field(form, "plan")):
        return _draft(request, given, draft, form, status=422)
    try:
        wanted, _ = _wanted(given, draft, form)
        saved = given.plans.save(name, wanted, asked, update=update, description=_field(form, "description") or None)
    except PlanRefused:
        return _draft(request, given, draft, form, status=422)
    except (Conflict, InvalidRequest) as error:
        wrong = Problem("name of the plan", error.message, error.remedy, code=error.code)
        return _draft(request, given, draft, form, status=422, wrong=wrong)
    Drafts(given.settings).remove(draft)
    return RedirectResponse(f"/plans/{quote(saved.plan.name)}", 303)


def _draft(
    request: Request,
    given: Services,
    draft: Draft,
    form: FormData,
    *,
    fresh: bool = False,
    status: int = 200,
    wrong: Problem | None = None,
) -> HTMLResponse:
    """`fresh`: nothing was chosen yet: the tables are as they are prefilled. A script gets the panel alone."""
    asked, chosen = _asked(form), Chosen() if fresh else _chosen(form)
    drawn = tables(draft.wanted(), given.store, asked.source)
    name, plan = _field(form, "name"), _field(form, "plan")
    wanted, left = (draft.wanted(), 0) if fresh else _wanted(given, draft, form)
    checked = given.plans.check(plan, wanted, asked)
    problems = list(checked.problems)
    if wrong or (wrong := _taken(given, name, plan)):
        problems.insert(0, wrong)
    checked = replace(checked, problems=tuple(problems))
    only_panel = request.headers.get("hx-request") == "true" and not fresh
    return page(
        request,
        "panel" if only_panel else "draft",
        status,
        draft=draft,
        tables=drawn,
        chosen=chosen,
        waves=chosen.waves or [_as_fields(wave) for wave in drawn.waves],
        sources=given.store.sources.list(_ALL).items,
        asked=asked,
        name=name,
        plan=plan,
        description=_field(form, "description"),
        checked=checked,
        left=left,
        errors=[item for item in problems if item.severity == "error"],
        warnings=[item for item in problems if item.severity == "warning"],
        changes=_changes(checked),
    )


def _wanted(given: Services, draft: Draft, form: FormData) -> tuple[WantedPlan, int]:
    """What is asked for with all that was chosen, and how many rows with errors are left out of it."""
    asked = _asked(form)
    wanted = with_chosen(draft.wanted(), _chosen(form), given.store, asked.source)
    if _field(form, "leave_out") != "yes":
        return wanted, 0
    return left_out(wanted, given.plans.check(_field(form, "plan"), wanted, asked).errors)


def _taken(given: Services, name: str, plan: str) -> Problem | None:
    """What is wrong with the name of a new plan."""
    if plan:
        return None
    try:
        _NAME.validate_python(name)
    except ValidationError:
        said = "this cannot be its name" if name else "the plan has no name yet"
        return Problem("name of the plan", said, "Use up to 100 characters, without / ? # %.")
    if given.plans.version(name):
        fix = "Choose another name, or change that plan with a sheet on its own page."
        return Problem("name of the plan", f"there is a plan {name} already", fix, code="plan_exists")
    return None


def _changes(checked: Checked) -> dict[str, int]:
    found = dict.fromkeys(("added", "changed", "unchanged", "locked", "missing"), 0)
    for item in checked.differences:
        found[item.change] += 1
    return {change: number for change, number in found.items() if number}


def _asked(form: FormData) -> Asked:
    return Asked(source=_field(form, "source"), remove_missing=_field(form, "remove_missing") == "yes")


def _chosen(form: FormData) -> Chosen:
    def of(name: str) -> list[str]:
        return [str(value)[:500] for value in form.getlist(name)]

    said = list(zip(of("said_target"), of("said_pool"), strict=False))
    to = [tuple(value.partition("/")[::2]) for value in of("to")]
    places = {was: cast(tuple[str, str], now) for was, now in zip(said, to, strict=False) if now[0]}
    columns = [of(f"wave_{name}") for name in _WAVE]
    waves = [
        dict(zip(_WAVE, (value.strip() for value in values), strict=True)) for values in zip(*columns, strict=False)
    ]
    return Chosen(dict(zip(of("network"), of("plug"), strict=False)), places, waves)


def _as_fields(wave: Wave) -> dict[str, str]:
    return {
        "name": wave.name,
        "starts_at": f"{wave.starts_at:%Y-%m-%dT%H:%M}" if wave.starts_at else "",
        "ends_at": f"{wave.ends_at:%Y-%m-%dT%H:%M}" if wave.ends_at else "",
        "at_once": str(wave.at_once or ""),
        "stop_after": str(wave.stop_after or ""),
        "gate": wave.gate,
    }


def _field(form: FormData, name: str) -> str:
    return str(form.get(name, "")).strip()[:500]
