"""Plans, items and imports as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from app.api.plan_schemas import Finding, ImportOut, ItemJobOut, ItemOut, PlanOut, WaveOut
from app.api.schemas import Named
from app.domain.job import JobSummary
from app.domain.plan_state import Entry
from app.services.plan_standing import Standing, WaveStanding
from app.services.planning.report import Checked
from app.services.plans import ItemStanding


def import_out(plan: str, version: int, checked: Checked) -> ImportOut:
    return ImportOut(
        plan=plan,
        kind=checked.kind,
        rows=checked.rows,
        problems=[
            Finding(place=item.place, severity=item.severity, code=item.code, cause=item.cause, fix=item.fix)
            for item in checked.problems
        ],
        differences=checked.differences,
        vms=checked.vms,
        bytes=checked.bytes,
        seconds=checked.seconds,
        waves=checked.forecasts,
        pools=checked.pools,
        version=version,
    )


def plan_out(standing: Standing, would_start: Sequence[Entry] | None = None) -> PlanOut:
    plan, amount = standing.plan, standing.amount
    here = f"/v1/plans/{plan.id}"
    links = {name: f"{here}/{name}" for name in ("items", "events", "export", *standing.verbs)}
    return PlanOut(
        id=plan.id,
        name=plan.name,
        description=plan.description,
        state=plan.state,
        reason=plan.reason,
        version=plan.version,
        counts=standing.counts,
        bytes_done=amount.done,
        bytes_total=amount.total,
        bytes_skipped=amount.skipped,
        rate=standing.rate,
        eta_s=standing.eta_s,
        next_cutover_at=standing.next_cutover_at,
        needs_human=standing.needs_human,
        next_action=standing.next_action,
        waves=[_wave_out(wave) for wave in standing.waves],
        created_at=plan.created_at,
        updated_at=plan.updated_at,
        started_at=plan.started_at,
        ended_at=plan.ended_at,
        would_start=None if would_start is None else [Named(id=entry.key, name=entry.name) for entry in would_start],
        links={"self": here, **links},
    )


def _wave_out(standing: WaveStanding) -> WaveOut:
    return WaveOut(
        **dict(standing.wave),
        state=standing.state,
        counts=standing.counts,
        bytes_done=standing.amount.done,
        bytes_total=standing.amount.total,
        bytes_skipped=standing.amount.skipped,
        began_at=standing.started_at,
        was_over_at=standing.ended_at,
    )


def item_out(ref: str, standing: ItemStanding) -> ItemOut:
    """`ref`: the plan's id or name, as it was asked for."""
    item, job = standing.item, standing.job
    links = {"self": f"/v1/plans/{quote(ref, safe='')}/items/{quote(item.key, safe=':')}"}
    if job is not None:
        links["job"] = f"/v1/jobs/{job.id}"
    return ItemOut(
        **(dict(item) | {"job": _job_out(job, standing.downtime_s) if job else None}),
        state=standing.state,
        next_action=standing.next_action,
        links=links,
    )


def _job_out(job: JobSummary, downtime_s: float | None) -> ItemJobOut:
    return ItemJobOut(
        id=job.id,
        run=job.run,
        state=job.state,
        phase=job.phase,
        progress=job.progress,
        disks=job.disks,
        boot=job.boot,
        error=job.error,
        domain_uuid=job.domain_uuid,
        started_at=job.started_at,
        ended_at=job.ended_at,
        downtime_s=downtime_s,
    )
