"""The parts of a job's page that change: made the same for the page and for what is sent while it is looked at."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from app.api.deps import Services
from app.api.views import disks_out
from app.domain.job import Job
from app.services.jobs import actions, next_action, seconds
from app.web.live import News
from app.web.render import fragment

LOG_LINES = 200
SPARK_POINTS = 60
_WIDTH, _HEIGHT = 96, 22  # of a sparkline, as parts.html draws it


def job_parts(job: Job, given: Services) -> dict[str, Markup]:
    """id of the element → what is in it."""
    disks = disks_out(job, given.files)
    rates = given.store.events.rates(job.id, limit=SPARK_POINTS) if job.phase == "transfer" else []
    made = {
        "head": fragment("job_parts", "head", job, actions(job), next_action(job)),
        "totals": fragment("job_parts", "totals", job),
        "rate": fragment("job_parts", "rate", spark(rates), max(rates, default=0)),
        "disks": fragment("job_parts", "disks", job, disks, {disk.key: bool(disk.links) for disk in disks}),
        "steps": fragment("job_parts", "steps", job, [seconds(s.started_at, s.ended_at) for s in job.steps]),
    }
    if job.boot:
        made["boot"] = fragment("job_parts", "ladder", job, list(given.files.consoles(job.id)))
    else:
        made["boot"] = fragment("job_parts", "nothing", "It was not started on the target.")
    if job.boot and job.boot.contract:
        made["contract"] = fragment("job_parts", "contract", job.boot.contract)
    else:
        made["contract"] = fragment("job_parts", "nothing", "They were not compared yet.")
    return made


def job_news(job_id: str, given: Services, last: int) -> News | None:
    found = given.store.events.after(last, job_id=job_id)
    if not found:
        return None
    said = [event for event in found if event.kind != "job.progress"]
    more = {"log": fragment("job_parts", "lines", said)} if said else {}
    return News(found[-1].id, job_parts(given.store.jobs.job(job_id), given), more)


def spark(rates: Sequence[float]) -> str:
    """Points of a line from the left to the right, the highest rate at the top; "" for less than two."""
    if len(rates) < 2:
        return ""
    top = max(rates) or 1
    step = _WIDTH / (len(rates) - 1)
    return " ".join(f"{n * step:.0f},{_HEIGHT - 1 - rate / top * (_HEIGHT - 2):.0f}" for n, rate in enumerate(rates))
