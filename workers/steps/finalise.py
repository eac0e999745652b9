"""Leave the source off, and write on it where it went."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.models import Artefact, Leftover
from workers.steps.context import StepContext


def do(ctx: StepContext) -> str:
    job, move = ctx.job, ctx.move
    ctx.cancel()
    ctx.require_source_off()
    note = (
        f"[vmferry] moved to {move.domain_name} ({job.domain_uuid}) on {job.target_name}, "
        f"{ctx.clock.now():%Y-%m-%d %H:%M} UTC, job {job.id}"
    )
    before = job.before.annotation if job.before else ""
    ctx.store.keep(job.id, Artefact(kind="annotation", name=job.vm_id))
    ctx.fence()
    ctx.source.annotate(job.vm_id, f"{before}\n{note}" if before else note)
    ctx.store.keep(job.id, Artefact(kind="annotation", name=job.vm_id, made=True))
    return "the source stays off and says where it went"


def undo(ctx: StepContext) -> None:
    """Give the source its own note back."""
    job = ctx.job
    if job.artefact("annotation", job.vm_id) is None:
        return
    ctx.fence()
    ctx.source.annotate(job.vm_id, job.before.annotation if job.before else "")
    ctx.store.drop(job.id, "annotation", job.vm_id)


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    job = ctx.job
    if job.artefact("annotation", job.vm_id) is None:
        return ()
    return (
        Leftover(
            what=f"the note '[vmferry] moved …' on {job.vm_name} of {job.source_name}",
            cause=cause,
            command=f"govc vm.change -vm {job.vm_id} -annotation …",
        ),
    )
