"""Read the target back and compare it with the hashes that were taken from the source's stream."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.models import Leftover
from workers.steps.context import StepContext
from workers.steps.transfer import manifest_path
from workers.transfer.manifest import Manifest
from workers.transfer.verify import verify_copy


def do(ctx: StepContext) -> str:
    known = {disk.key: disk for disk in ctx.job.disks}
    read = skipped = 0
    for index, disk in enumerate(ctx.vm.disks):

        def progress(verified: int, key: int = disk.key) -> None:
            known[key] = known[key].model_copy(update={"verified_bytes": verified})
            ctx.store.progress(ctx.job.id, list(known.values()), None, None)

        result = verify_copy(
            ctx.volume(index),
            Manifest.load(manifest_path(ctx.folder, index)),
            format=ctx.target_spec.image.format,
            progress=progress,
            cancel=ctx.cancel,
            workers=ctx.adapters.transfer_workers,
        )
        read += result.bytes_read
        skipped += result.bytes_skipped
    ctx.require_source_off()
    return f"{read >> 20} MiB read back and equal, {skipped >> 20} MiB zeros on both sides"


def undo(ctx: StepContext) -> None:
    """Nothing was changed."""


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    return ()
