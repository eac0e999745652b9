"""How the move of an item went, for the columns that an export has behind those of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.job import Job, JobSummary
from app.domain.models import PowerState
from app.domain.plan import Item
from app.domain.plan_state import item_state
from app.sheets.cells import Written, moment


@dataclass(frozen=True)
class Outcome:
    """None and "": not known, or not yet."""

    state: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    downtime_s: float | None = None
    gib: float | None = None
    mib_s: float | None = None
    boot: str = ""
    contract: str = ""
    target_uuid: str = ""
    error: str = ""

    def written(self, field: str) -> Written:
        value: str | float | datetime | None = getattr(self, field)
        return moment(value.replace(microsecond=0)) if isinstance(value, datetime) else value


def outcome(item: Item, job: Job | JobSummary | None) -> Outcome:
    """`job`: that of `item.job`."""
    state = item_state(item, job).value
    if job is None:
        return Outcome(state=state, error=_told(item.error) or item.held)
    boot, copied = job.boot, job.progress.bytes_done
    copying = _step(job, "transfer")
    seconds = (copying[1] - copying[0]).total_seconds() if copying else 0
    return Outcome(
        state=state,
        started=job.started_at,
        ended=job.ended_at,
        downtime_s=downtime_s(job),
        gib=round(copied / (1 << 30), 2) if copying else None,
        mib_s=round(copied / (1 << 20) / seconds, 1) if seconds > 0 else None,
        boot=(f"seen by {boot.kind}" if boot.kind else f"came to {boot.last or 'nothing'}") if boot else "",
        contract=boot.contract.told if boot and boot.contract else "",
        target_uuid=job.domain_uuid,
        error=_told(job.error) or _told(item.error) or item.held,
    )


def downtime_s(job: Job | JobSummary) -> float | None:
    """Seconds from when the source was asked to shut down to when its guest was seen up on the target."""
    off, boot = _step(job, "shutdown"), _step(job, "boot_check")
    ran = job.before is None or job.before.power_state is PowerState.ON
    if not (off and boot and ran and job.boot and job.boot.kind and job.boot.seconds is not None):
        return None
    return round((boot[0] + timedelta(seconds=job.boot.seconds) - off[0]).total_seconds(), 1)


def _step(job: Job | JobSummary, name: str) -> tuple[datetime, datetime] | None:
    """When a step that succeeded began and ended, also when it was undone later."""
    step = next((step for step in job.steps if step.name == name and step.state in ("succeeded", "undone")), None)
    return (step.started_at, step.ended_at) if step and step.started_at and step.ended_at and not step.error else None


def _told(error: dict[str, object] | None) -> str:
    return " ".join(str(error[key]) for key in ("message", "hint") if error.get(key)) if error else ""
