"""Change the guest for KVM on overlays, and commit them only when that has succeeded.

A failed or killed conversion costs no second copy: the overlays are thrown away, the verified copy below is untouched.
From the moment the commit begins there is no way back but forward: a commit may be run again until it is through.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.domain.conversion import converters_for
from app.domain.errors import UnsupportedGuest
from app.domain.models import GuestReport, Leftover
from app.preflight.converter import version
from converters import qcow2
from workers.steps.context import StepContext


def overlay_path(base: Path) -> Path:
    return base.with_suffix(".overlay.qcow2")


def do(ctx: StepContext) -> str:
    job = ctx.job
    bases = [ctx.volume(index) for index in range(len(ctx.vm.disks))]
    if not job.data.get("converted"):
        ctx.require_source_off()
        report = _by_the_best_converter(ctx, bases)
        ctx.fence()
        ctx.store.record(job.id, guest=report, data={"converted": True})
    for base in bases:
        overlay = overlay_path(base)
        if overlay.exists():
            qcow2.commit(overlay)
    _remove_overlays(bases)
    guest = ctx.job.guest
    names = ", ".join(sorted(guest.nic_names.values())) if guest else ""
    return f"{guest.os if guest else 'guest'} by {guest.converter if guest else ''}; NIC names kept: {names or 'none'}"


def _by_the_best_converter(ctx: StepContext, bases: Sequence[Path]) -> GuestReport:
    """Convert by the first that knows the guest, each on new overlays."""
    refused: UnsupportedGuest | None = None
    keys = ctx.store.disk_keys(ctx.job.id)
    for choice in converters_for(ctx.vm, ctx.job.options.converter, version(ctx.target.facts())):
        ctx.event(f"converter {choice.converter}: {choice.reason}")
        _remove_overlays(bases)
        overlays = [overlay_path(base) for base in bases]
        for base, overlay in zip(bases, overlays, strict=True):
            qcow2.create_overlay(overlay, base, ctx.target_spec.image.format)
        converter = ctx.adapters.converters[choice.converter]
        try:
            report = converter.convert(ctx.vm, overlays, keys=keys, cancel=ctx.cancel, log=ctx.event)
        except UnsupportedGuest as error:
            ctx.event(f"{choice.converter} does not take this guest: {error.message}", level="warning")
            refused = refused or error
        else:
            return report.model_copy(update={"reason": refused.message if refused else choice.reason})
    raise refused or UnsupportedGuest("no converter takes this guest", "Ask for the converter compat.")


def _remove_overlays(bases: Sequence[Path]) -> None:
    for base in bases:
        overlay_path(base).unlink(missing_ok=True)


def undo(ctx: StepContext) -> None:
    """Throw the overlays away; once committed, the disks themselves go with the undo of the transfer."""
    if ctx.job.data.get("converted"):
        return
    ctx.fence()
    for name in ctx.target.volumes(ctx.move.volume_prefix()):
        if name.endswith(".overlay.qcow2"):
            ctx.target.delete_volume(name)


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    return ()
