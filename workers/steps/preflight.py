"""Look at the VM and the target as they are now, and stop before anything is touched if the move cannot work."""

from __future__ import annotations

from collections.abc import Sequence

from app import preflight as rules
from app.domain.errors import PreflightFailed
from app.domain.job import SourceBefore
from app.domain.models import DiskProgress, Leftover
from app.domain.space import reservations
from workers.steps.context import StepContext


def do(ctx: StepContext) -> str:
    job = ctx.job
    vm = ctx.source.vm(job.vm_id)
    before = job.before or SourceBefore(
        power_state=vm.power_state, annotation=vm.annotation, snapshots=vm.snapshots, seen_at=ctx.source.now()
    )
    ctx.store.record(job.id, vm=vm, before=before, domain_uuid=vm.uuid)
    facts = ctx.target.facts()
    reserved = reservations(ctx.store.sharing_pool(job.id), job)
    concerns = rules.run(ctx.move.model_copy(update={"reserved": reserved}), facts)
    ctx.store.record(job.id, concerns=tuple(concerns))
    if any(concern.severity == "blocker" for concern in concerns):
        raise PreflightFailed(concerns)
    ctx.store.progress(
        job.id,
        [DiskProgress(key=disk.key, label=disk.label, capacity_bytes=disk.capacity_bytes) for disk in vm.disks],
        None,
        None,
    )
    warnings = sum(concern.severity == "warning" for concern in concerns)
    return f"{len(vm.disks)} disks, {vm.disk_bytes >> 20} MiB, {warnings} warnings"


def undo(ctx: StepContext) -> None:
    """Nothing was touched."""


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    return ()
