"""Imports: a sheet becomes a plan, or changes one."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response

from app.api.deps import Given, Services
from app.api.plan_schemas import ImportOut
from app.api.plan_views import import_out
from app.api.routes.plans import XLSX
from app.domain.errors import InvalidRequest
from app.domain.plan import PlanName
from app.services.planning.rows import Asked

router = APIRouter(prefix="/imports", tags=["plans"])

Filter = Annotated[str, Query(max_length=500)]
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the file: .xlsx, .csv, a .zip of RVTools' CSVs, or a list of names.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ANNOTATED: dict[int | str, dict[str, Any]] = {
    200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}, "description": "What it does"}
}


@router.post("", response_model=ImportOut, openapi_extra=_BODY, responses=_ANNOTATED)
async def import_sheet(
    request: Request,
    given: Given,
    response: Response,
    filename: Annotated[str, Query(max_length=255, description="It becomes part of the places of a CSV.")] = "sheet",
    plan: Annotated[PlanName | None, Query(description="Needed but for a dry run.")] = None,
    source: Filter = "",
    target: Filter = "",
    dry_run: bool = False,
    remove_missing: bool = False,
    update: bool = False,
) -> ImportOut | Response:
    """Make a plan of a sheet (201), or with `update` change one (200); the same again changes nothing.

    `source` and `target` are for rows that name none. With `dry_run` nothing is stored, and errors are told in the
    answer; where the workbook's own type is accepted, that is the same rows with their problems marked.
    """
    if plan is None and not dry_run:
        raise InvalidRequest("a plan is needed to import into", "Give ?plan=NAME, or dry_run=true.", pointer="plan")
    asked = Asked(source=source, target=target, remove_missing=remove_missing)
    data = await request.body()
    if dry_run:
        marked = XLSX in request.headers.get("accept", "")
        return await run_sync(_checked, given, data, filename, plan or "", asked, marked)
    return await run_sync(_imported, given, response, data, filename, plan or "", asked, update)


def _checked(
    given: Services, data: bytes, filename: str, plan: str, asked: Asked, marked: bool
) -> ImportOut | Response:
    if marked:
        return Response(given.plans.annotated(data, filename, plan, asked), media_type=XLSX)
    checked = given.plans.check(plan, given.plans.read(data, filename), asked)
    return import_out(plan, given.plans.version(plan), checked)


def _imported(
    given: Services, response: Response, data: bytes, filename: str, plan: str, asked: Asked, update: bool
) -> ImportOut:
    saved = given.plans.save(plan, given.plans.read(data, filename), asked, update=update)
    response.status_code = 201 if saved.made else 200
    response.headers["Location"] = f"/v1/plans/{saved.plan.id}"
    response.headers["ETag"] = f'"{saved.plan.version}"'
    return import_out(plan, saved.plan.version, saved.checked)
