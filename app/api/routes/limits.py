"""Limits on bytes per second: what is set acts within a second, also on jobs that run."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.deps import Given, Paged
from app.api.schemas import LimitOut, Named, PageOf
from app.domain.limits import Limit
from app.services.limits import NamedLimit

router = APIRouter(prefix="/limits", tags=["limits"])


@router.get("")
def list_limits(given: Given, page: Paged) -> PageOf[LimitOut]:
    """Of the service, of sources, and of jobs that have not ended."""
    found = given.limits.list(page)
    return PageOf(items=[_out(item) for item in found.items], next_cursor=found.next)


@router.get("/service")
def show_service_limit(given: Given) -> LimitOut:
    """404 where none is set."""
    return _out(given.limits.get("service"))


@router.put("/service")
def set_service_limit(limit: Limit, given: Given) -> LimitOut:
    """For all jobs of a worker together."""
    return _out(given.limits.set(limit, "service"))


@router.delete("/service", status_code=204)
def clear_service_limit(given: Given) -> None:
    given.limits.clear("service")


@router.get("/sources/{ref}")
def show_source_limit(ref: str, given: Given) -> LimitOut:
    """404 where none is set."""
    return _out(given.limits.get("source", ref))


@router.put("/sources/{ref}")
def set_source_limit(ref: str, limit: Limit, given: Given) -> LimitOut:
    """For all jobs of a worker that read from this source together."""
    return _out(given.limits.set(limit, "source", ref))


@router.delete("/sources/{ref}", status_code=204)
def clear_source_limit(ref: str, given: Given) -> None:
    given.limits.clear("source", ref)


@router.get("/jobs/{job_id}")
def show_job_limit(job_id: str, given: Given) -> LimitOut:
    """404 where none is set."""
    return _out(given.limits.get("job", job_id))


@router.put("/jobs/{job_id}")
def set_job_limit(job_id: str, limit: Limit, given: Given) -> LimitOut:
    return _out(given.limits.set(limit, "job", job_id))


@router.delete("/jobs/{job_id}", status_code=204)
def clear_job_limit(job_id: str, given: Given) -> None:
    given.limits.clear("job", job_id)


def _out(item: NamedLimit) -> LimitOut:
    limit = item.limit
    return LimitOut(
        **dict(limit),
        source=Named(id=limit.subject, name=item.name) if limit.scope == "source" else None,
        job=Named(id=limit.subject, name=item.name) if limit.scope == "job" else None,
        rate_now=item.rate_now,
    )
