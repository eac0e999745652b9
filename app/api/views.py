"""A job as the API shows it."""

from __future__ import annotations

from app.api.schemas import DiskOut, JobOut, Named, StepOut
from app.domain.job import Job
from app.domain.models import DiskProgress
from app.services.files import JobFiles
from app.services.jobs import actions, next_action, seconds


def job_out(job: Job, files: JobFiles) -> JobOut:
    here = f"/v1/jobs/{job.id}"
    links: dict[str, str | list[str]] = {"self": here, "disks": f"{here}/disks", "events": f"{here}/events"}
    links |= {verb: f"{here}/{verb}" for verb in actions(job)}
    if consoles := files.consoles(job.id):
        links["console"] = [f"{here}/console/{name}.png" for name in consoles]
    return JobOut(
        id=job.id,
        run=job.run,
        purpose=job.purpose,
        vm=Named(id=job.vm_id, name=job.vm_name),
        source=Named(id=job.source_id, name=job.source_name),
        target=Named(id=job.target_id, name=job.target_name),
        strategy=job.options.strategy,
        options=job.options,
        state=job.state,
        phase=job.phase,
        stop_requested=job.stop_requested,
        pause=job.pause,
        progress=job.progress,
        steps=[StepOut(**dict(step), seconds=seconds(step.started_at, step.ended_at)) for step in job.steps],
        disks=job.disks,
        concerns=job.concerns,
        next_action=next_action(job),
        error=job.error,
        domain_uuid=job.domain_uuid,
        guest=job.guest,
        boot=job.boot,
        artefacts=job.artefacts,
        leftovers=job.leftovers,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        seconds=seconds(job.started_at, job.ended_at),
        links=links,
    )


def disks_out(job: Job, files: JobFiles) -> list[DiskOut]:
    """With nothing done yet, the disks that it will copy."""
    manifests = files.manifests(job.id)
    planned = [
        DiskProgress(key=disk.key, label=disk.label, capacity_bytes=disk.capacity_bytes)
        for disk in (job.vm.disks if job.vm else ())
    ]
    return [
        DiskOut(
            **dict(disk),
            links={"manifest": f"/v1/jobs/{job.id}/disks/{disk.key}/manifest"} if str(disk.key) in manifests else {},
        )
        for disk in job.disks or planned
    ]
