"""Keys of encrypted disks: sealed, bound to their job and device, and removed when the job is through."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from app.domain.states import JobState
from app.store.secretbox import SecretBox
from app.store.tables import disk_keys

THROUGH = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.ROLLED_BACK)  # nothing converts after these


def put(connection: sa.Connection, box: SecretBox, job_id: str, keys: Mapping[str, str]) -> None:
    for device, key in keys.items():
        secret = box.seal(_row(job_id, device), key)
        connection.execute(disk_keys.insert().values(job_id=job_id, device=device, secret=secret))


def of_job(connection: sa.Connection, box: SecretBox, job_id: str) -> dict[str, str]:
    """Raises SecretUnreadable."""
    found = connection.execute(sa.select(disk_keys).where(disk_keys.c.job_id == job_id))
    return {row.device: box.open(_row(job_id, row.device), row.secret) for row in found}


def forget(connection: sa.Connection, job_id: str) -> None:
    connection.execute(disk_keys.delete().where(disk_keys.c.job_id == job_id))


def _row(job_id: str, device: str) -> str:
    return f"disk_keys/{job_id}/{device}"
