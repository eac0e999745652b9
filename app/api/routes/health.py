"""Health, without a token: for service managers and load balancers."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Given
from app.api.schemas import Health
from app.domain.errors import TransientError

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": Health}})
def ready(given: Given, response: Response) -> Health:
    """The database answers and a worker is there."""
    try:
        workers = given.store.workers.beating(given.settings.lease_s)
    except TransientError as error:
        response.status_code = 503
        return Health(status="unavailable", detail=error.message)
    if not workers:
        response.status_code = 503
        return Health(status="unavailable", detail="no worker has given a sign of life within its lease")
    return Health(status="ok", detail=f"{workers} worker{'s' if workers > 1 else ''}")
