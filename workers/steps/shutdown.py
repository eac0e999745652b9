"""Shut the source down through Tools; never a hard power-off unless the user said so."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import SourceChanged
from app.domain.models import Artefact, Leftover, PowerState
from workers.steps.context import StepContext


def do(ctx: StepContext) -> str:
    job = ctx.job
    was_on = job.before is not None and job.before.power_state is PowerState.ON
    state = ctx.source.power_state(job.vm_id)
    if state is not PowerState.OFF and not was_on:
        raise SourceChanged(
            f"{job.vm_name} was off when the job began and is {state} now",
            "Someone started it. Shut it down, or submit the move again while it runs.",
        )
    if state is PowerState.ON:
        ctx.store.keep(job.id, Artefact(kind="power", name=job.vm_id))
        ctx.fence()
        ctx.event(f"asking {job.vm_name} to shut down")
        ctx.source.shut_down(
            job.vm_id,
            force=job.options.force_power_off,
            timeout_s=job.options.shutdown_timeout_s,
            cancel=ctx.cancel,
        )
    if was_on:
        ctx.store.keep(job.id, Artefact(kind="power", name=job.vm_id, made=True))
    ctx.store.record(job.id, off_since=ctx.source.now())
    return "the guest shut down" if was_on else "it was off"


def undo(ctx: StepContext) -> None:
    """Start the source again, if it was we who stopped it."""
    job = ctx.job
    if job.artefact("power", job.vm_id) is None:
        return
    ctx.fence()
    # A guest that was asked to shut down may still be on its way: wait for it, or our power-on would come too early.
    if job.off_since is None and ctx.source.power_state(job.vm_id) is PowerState.ON:
        _wait_for_late_shutdown(ctx)
    if ctx.source.power_state(job.vm_id) is not PowerState.ON:
        ctx.source.power_on(job.vm_id)
    ctx.store.drop(job.id, "power", job.vm_id)


LATE_SHUTDOWN_S = 15.0


def _wait_for_late_shutdown(ctx: StepContext) -> None:
    deadline = ctx.clock.monotonic() + LATE_SHUTDOWN_S
    while ctx.clock.monotonic() < deadline and ctx.source.power_state(ctx.job.vm_id) is PowerState.ON:
        ctx.clock.sleep(1)


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    job = ctx.job
    if job.artefact("power", job.vm_id) is None:
        return ()
    return (
        Leftover(
            what=f"{job.vm_name} on {job.source_name} is still off; it was on before",
            cause=cause,
            command=f"govc vm.power -on -moid {job.vm_id}",
        ),
    )
