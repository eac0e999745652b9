"""Define the domain, under the UUID that preflight stored."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.hardware import hardware_for
from app.domain.hardware.placement import taken_by_others
from app.domain.models import Artefact, Leftover
from workers.steps.context import StepContext


def do(ctx: StepContext) -> str:
    job, move = ctx.job, ctx.move
    facts = ctx.target.facts()
    hardware = hardware_for(
        move,
        disk_paths=[str(ctx.volume(index)) for index in range(len(move.vm.disks))],
        domain_uuid=job.domain_uuid,
        accelerator=facts.accelerator,
        has_tpm=facts.tpm,
        host=facts.host,
        taken=taken_by_others(facts.domains, job.id),
        serial_log=str(ctx.target.serial_log(f"vmferry-{job.id}")),
    )
    ctx.store.keep(job.id, Artefact(kind="domain", name=job.domain_uuid))
    ctx.require_source_off()
    ctx.fence()
    domain = ctx.target.define(hardware)
    ctx.store.keep(job.id, Artefact(kind="domain", name=job.domain_uuid, made=True, data={"name": domain.name}))
    return f"domain {domain.name}, {domain.uuid}"


def undo(ctx: StepContext) -> None:
    """Remove the domain if it is this job's; its disks go with the undo of the transfer."""
    job = ctx.job
    if job.artefact("domain", job.domain_uuid) is None:
        return
    ctx.fence()
    domain = ctx.target.find_domain(uuid=job.domain_uuid)
    if domain is not None and domain.job == job.id:
        if domain.running:
            ctx.target.stop(domain.uuid)
        ctx.target.undefine(domain.uuid)
    ctx.target.serial_log(f"vmferry-{job.id}").unlink(missing_ok=True)
    ctx.store.drop(job.id, "domain", job.domain_uuid)


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    job, spec = ctx.job, ctx.target_spec
    if job.artefact("domain", job.domain_uuid) is None:
        return ()
    return (
        Leftover(
            what=f"domain {job.domain_uuid} on {spec.name}",
            cause=cause,
            command=f"virsh -c {spec.uri} undefine --nvram {job.domain_uuid}",
        ),
    )
