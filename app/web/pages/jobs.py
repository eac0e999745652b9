"""Moves: all of them, and one VM's with everything that is known of it."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, StreamingResponse

from app.api.deps import Given
from app.api.streams import MAX_ID
from app.domain.errors import NotFound
from app.domain.job import Job
from app.domain.plan import Plan
from app.domain.states import JobState
from app.services.jobs import next_action, seconds
from app.store.paging import PageRequest
from app.web import live
from app.web.job_view import LOG_LINES, job_news, job_parts
from app.web.render import page

router = APIRouter(prefix="/jobs")

Text = Annotated[str, Query(max_length=500)]


@router.get("")
def list_jobs(
    request: Request,
    given: Given,
    state: JobState | Literal[""] = "",
    vm: Text = "",
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> HTMLResponse:
    wanted = [JobState(state)] if state else []
    found = given.store.requests.list(PageRequest(50, cursor), states=wanted, vm=vm.strip())
    rows = [(job, next_action(job)) for job in found.items]
    return page(request, "jobs", found=found, rows=rows, states=list(JobState), state=state, vm=vm)


@router.get("/{job_id}")
def show_job(request: Request, given: Given, job_id: str) -> HTMLResponse:
    after = given.store.events.last_id()  # before all else is read: what happens meanwhile is sent once more
    job = given.store.jobs.job(job_id)
    return page(
        request,
        "job",
        job=job,
        plan=_plan_of(job, given),
        part=job_parts(job, given),
        found=[*job.concerns, *(job.guest.concerns if job.guest else ())],
        took=seconds(job.started_at, job.ended_at),
        xml=given.jobs.planned_xml(job),
        log=given.store.events.newest(job.id, limit=LOG_LINES, up_to=after),
        after=after,
    )


def _plan_of(job: Job, given: Given) -> Plan | None:
    try:
        return given.store.plans.get(job.plan_id) if job.plan_id else None
    except NotFound:  # it was removed since
        return None


@router.get("/{job_id}/live")
def watch_job(
    request: Request, given: Given, job_id: str, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0
) -> StreamingResponse:
    job = given.store.jobs.job(job_id)
    return live.stream(request, given, after, lambda last: job_news(job.id, given, last))


@router.get("/{job_id}/console/{name}.png")
def show_console(given: Given, job_id: str, name: str) -> FileResponse:
    return FileResponse(given.files.console(job_id, name), media_type="image/png")


@router.get("/{job_id}/disks/{key}/manifest")
def get_manifest(given: Given, job_id: str, key: str) -> FileResponse:
    file = given.files.manifest(job_id, key)
    return FileResponse(file, media_type="application/json", filename=f"{job_id}-{key}.manifest.json")


@router.post("/{job_id}/{verb}")
def ask_of_job(
    given: Given,
    job_id: str,
    verb: Literal["pause", "resume", "cancel", "retry", "rollback"],
    confirm_data_loss: Annotated[str, Form(max_length=10)] = "",
) -> RedirectResponse:
    match verb:
        case "pause":
            given.jobs.pause(job_id)
        case "resume":
            given.jobs.resume(job_id)
        case "cancel":
            given.jobs.cancel(job_id)
        case "retry":
            given.jobs.retry(job_id)
        case "rollback":
            given.jobs.roll_back(job_id, confirm_data_loss=confirm_data_loss == "yes")
    return RedirectResponse(f"/jobs/{quote(job_id)}", 303)
