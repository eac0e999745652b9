"""Leave the source off, and write on it where it went, where it keeps notes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from app.domain.models import Artefact, Leftover
from workers.steps.context import StepContext


def do(ctx: StepContext) -> str:
    job, move = ctx.job, ctx.move
    ctx.require_source_off()
    known = job.artefact("annotation", job.vm_id)
    note = (
        known.data["note"]
        if known
        else (
            f"[vmferry] moved to {move.domain_name} ({job.domain_uuid}) on {job.target_name}, "
            f"{ctx.clock.now():%Y-%m-%d %H:%M} UTC, job {job.id}"
        )
    )
    ctx.store.keep(job.id, Artefact(kind="annotation", name=job.vm_id, data={"note": note}))
    text = ctx.source.vm(job.vm_id).annotation
    ctx.cancel()
    ctx.fence()
    if note not in text:
        ctx.source.annotate(job.vm_id, f"{text}\n{note}" if text else note)
        if note not in ctx.source.vm(job.vm_id).annotation:
            ctx.store.drop(job.id, "annotation", job.vm_id)
            return "the source stays as it is; it keeps no note of where it went"
    ctx.store.keep(job.id, Artefact(kind="annotation", name=job.vm_id, made=True, data={"note": note}))
    return "the source stays off and says where it went"


def undo(ctx: StepContext) -> None:
    """Take our note off again; what others wrote meanwhile stays."""
    job = ctx.job
    known = job.artefact("annotation", job.vm_id)
    if known is None:
        return
    ctx.fence()
    note = known.data["note"]
    text = ctx.source.vm(job.vm_id).annotation
    if note in text:
        ctx.source.annotate(job.vm_id, text.replace(f"\n{note}", "").replace(note, ""))
    ctx.store.drop(job.id, "annotation", job.vm_id)


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    job = ctx.job
    if job.artefact("annotation", job.vm_id) is None:
        return ()
    before = job.before.annotation if job.before else ""
    return (
        Leftover(
            what=f"the note '[vmferry] moved to …' on {job.vm_name} of {job.source_name}",
            cause=cause,
            command=shlex.join(["govc", "vm.change", "-vm", job.vm_id, "-annotation", before]),
        ),
    )
