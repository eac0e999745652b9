"""Jobs: the move of one VM."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from app.api import streams
from app.api.deps import Given, Paged, Services, Wait
from app.api.schemas import DiskOut, DryRunOut, JobOut, NewJob, PageOf, Rollback
from app.api.streams import MAX_ID
from app.api.views import disks_out, job_out
from app.api.waiting import until
from app.domain.job import Event, Job
from app.domain.states import TERMINAL, JobState

router = APIRouter(prefix="/jobs", tags=["jobs"])

Filter = Annotated[str, Query(max_length=500)]


@router.post("", status_code=201, response_model=JobOut | DryRunOut)
def submit_job(new: NewJob, given: Given, response: Response, dry_run: bool = False) -> JobOut | DryRunOut:
    """Move a VM. With `dry_run` nothing is done, and the answer (200) says what would be."""
    asked = (new.source, new.vm, new.target, new.options)
    if dry_run:
        response.status_code = 200
        planned = given.jobs.dry_run(*asked)
        return DryRunOut(
            concerns=planned.concerns,
            disks=planned.disks,
            bytes_total=planned.bytes_total,
            domain_xml=planned.domain_xml,
            steps=planned.steps,
        )
    keys = {device: key.get_secret_value() for device, key in new.luks_keys.items()}
    job = given.jobs.submit(*asked, limit=new.limit, keys=keys)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, given.files)


@router.get("")
def list_jobs(
    given: Given,
    page: Paged,
    state: Annotated[list[JobState] | None, Query()] = None,
    source: Filter = "",
    target: Filter = "",
    vm: Filter = "",
) -> PageOf[JobOut]:
    """`state` may be given more than once; `source`, `target` and `vm` are ids or names."""
    found = given.store.requests.list(page, states=state or (), source=source, target=target, vm=vm)
    return PageOf(items=[job_out(job, given.files) for job in found.items], next_cursor=found.next)


@router.get("/{job_id}")
async def show_job(job_id: str, given: Given, wait: Wait = 0) -> JobOut:
    """With `wait`: when it has ended or its state or phase has changed, or after that many seconds."""
    read = partial(given.store.jobs.job, job_id)
    first = await run_sync(read)

    def enough(job: Job) -> bool:
        return job.state in TERMINAL or (job.state, job.phase) != (first.state, first.phase)

    return job_out(await until(read, enough, wait, given.stopping), given.files)


@router.get("/{job_id}/disks")
def show_disks(job_id: str, given: Given) -> PageOf[DiskOut]:
    return PageOf(items=disks_out(given.store.jobs.job(job_id), given.files))


@router.get("/{job_id}/disks/{key}/manifest", response_class=FileResponse)
def show_manifest(job_id: str, key: int, given: Given) -> FileResponse:
    """The hashes of a disk as it left the source, for `vmferry image verify`; 404 until it was copied."""
    name = f"vmferry-{job_id}-disk-{key}.manifest.json"
    return FileResponse(given.files.manifest(job_id, str(key)), media_type="application/json", filename=name)


@router.get("/{job_id}/events", response_model=PageOf[Event], responses={200: {"content": {"text/event-stream": {}}}})
def job_events(
    job_id: str,
    given: Given,
    request: Request,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    cursor: Annotated[int, Query(ge=0, le=MAX_ID, description="`next_cursor` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    kind: Filter = "",
) -> PageOf[Event] | StreamingResponse:
    """A list; live when text/event-stream is accepted, until the job has ended."""
    job = given.store.jobs.job(job_id)
    start = max(after, cursor)
    if not streams.wants_stream(request):
        return streams.listing(given.store.events, start, limit, job_id=job.id, kind=kind)

    def ended() -> bool:
        return given.store.jobs.job(job_id).state in TERMINAL

    last = streams.last_seen(request, start) or 0
    return streams.stream(given.store.events, last, given.stopping, job_id=job.id, kind=kind, ended=ended)


@router.get("/{job_id}/console/{name}.png", response_class=FileResponse)
def show_console(job_id: str, name: str, given: Given) -> FileResponse:
    """What the moved VM's console showed."""
    return FileResponse(given.files.console(job_id, name), media_type="image/png")


@router.post("/{job_id}/pause", status_code=202)
def pause_job(job_id: str, given: Given, response: Response) -> JobOut:
    """A waiting job is paused at once (200); a running one at its next safe point. Nothing is undone."""
    return _asked(given.jobs.pause(job_id), given, response)


@router.post("/{job_id}/resume", status_code=202)
def resume_job(job_id: str, given: Given, response: Response) -> JobOut:
    """A paused job waits for a free slot and goes on where it was."""
    return _asked(given.jobs.resume(job_id), given, response)


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, given: Given, response: Response) -> JobOut:
    """A waiting job ends at once (200); a running one stops and is undone."""
    return _asked(given.jobs.cancel(job_id), given, response)


@router.post("/{job_id}/retry", status_code=202)
def retry_job(job_id: str, given: Given, response: Response) -> JobOut:
    """A failed job begins anew, or goes on where it was held."""
    return _asked(given.jobs.retry(job_id), given, response)


@router.post("/{job_id}/rollback", status_code=202)
def rollback_job(job_id: str, given: Given, response: Response, body: Rollback = Rollback()) -> JobOut:  # noqa: B008
    """Undo a job that has ended; for one that succeeded, `confirm_data_loss` must be true."""
    return _asked(given.jobs.roll_back(job_id, confirm_data_loss=body.confirm_data_loss), given, response)


def _asked(job: Job, given: Services, response: Response) -> JobOut:
    if job.state in TERMINAL or (job.state is JobState.PAUSED and not job.stop_requested):
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, given.files)
