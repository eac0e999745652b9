"""Operations: work for a worker that is not a job."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Given, Services, Wait
from app.api.waiting import until
from app.domain.job import Operation
from app.store.operations import Kind

router = APIRouter(prefix="/operations", tags=["operations"])


@router.get("/{operation_id}")
async def show_operation(operation_id: str, given: Given, wait: Wait = 0) -> Operation:
    """With `wait`: when it has ended, or after that many seconds."""
    return await until(
        lambda: given.store.operations.get(operation_id),
        lambda operation: operation.ended_at is not None,
        wait,
        given.stopping,
    )


def ask(given: Services, response: Response, kind: Kind, subject_id: str) -> Operation:
    """202 with the place where the result will be."""
    operation = given.store.operations.ask(kind, subject_id)
    response.headers["Location"] = f"/v1/operations/{operation.id}"
    return operation
