"""Copy the disks: each stream decoded on its way, straight into volumes of the pool.

A disk is written under a name of this attempt and takes its own name when it is whole; its manifest is beside the job.
A disk that has its name is finished, and a later attempt leaves it alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from app.domain.errors import TransportRefused
from app.domain.models import Artefact, Disk, Leftover, Transport
from app.ports.disks import DiskAccess, StreamDisk
from workers.steps.context import StepContext
from workers.transfer.copy import CopyProgress, copy_stream
from workers.transfer.meter import Meter


def manifest_path(folder: Path, index: int) -> Path:
    return folder / f"disk-{index}.manifest.json"


def do(ctx: StepContext) -> str:
    job, vm, move = ctx.job, ctx.vm, ctx.move
    ctx.require_source_off()
    finished = {index for index in range(len(vm.disks)) if _is_finished(ctx, index)}
    keep = {move.volume_name(index) for index in finished}
    for name in ctx.target.volumes(move.volume_prefix()):
        if name not in keep:
            ctx.target.delete_volume(name)
    meter = Meter(ctx.clock, vm.disks, lambda disks, rate, eta: ctx.store.progress(job.id, disks, rate, eta))
    for index in finished:
        meter.resume(vm.disks[index].key, job.disks)
    if len(finished) < len(vm.disks):
        with ctx.source.access(job.vm_id, _way(ctx), cancel=ctx.cancel) as access:
            for index, disk in enumerate(vm.disks):
                if index not in finished:
                    _copy(ctx, access, index, disk, meter)
    ctx.require_source_off()
    return meter.summary()


def _way(ctx: StepContext) -> Transport:
    """The best one that works."""
    ways = ctx.source.ways(ctx.vm)
    for way in ways:
        if way.usable:
            return way.transport
    raise TransportRefused("; ".join(f"{way.transport}: {way.reason}" for way in ways), "Use another source.")


def _copy(ctx: StepContext, access: DiskAccess, index: int, disk: Disk, meter: Meter) -> None:
    name = ctx.move.volume_name(index)
    part = f"{name}.a{ctx.attempt}.part"
    ctx.store.keep(ctx.job.id, Artefact(kind="volume", name=name))
    path = ctx.target.create_volume(part, disk.capacity_bytes)

    def progress(seen: CopyProgress) -> None:
        meter.update(disk.key, seen)
        access.report_percent(meter.percent())

    source = access.disk(disk.key)
    assert isinstance(source, StreamDisk)
    with closing(source.open_stream()) as stream:
        manifest = copy_stream(
            stream,
            path,
            disk.capacity_bytes,
            disk=str(disk.key),
            workers=ctx.adapters.transfer_workers,
            cancel=ctx.cancel,
            progress=progress,
        )
    manifest.save(manifest_path(ctx.folder, index))
    path.rename(path.with_name(name))
    _sync_folder(path.parent)
    ctx.store.keep(ctx.job.id, Artefact(kind="volume", name=name, made=True))


def _is_finished(ctx: StepContext, index: int) -> bool:
    name = ctx.move.volume_name(index)
    artefact = ctx.job.artefact("volume", name)
    return (
        artefact is not None
        and artefact.made
        and ctx.target.volume_path(name) is not None
        and manifest_path(ctx.folder, index).exists()
    )


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut only when its folder is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def undo(ctx: StepContext) -> None:
    """Remove every volume of this job; nothing else in the pool has its prefix."""
    if not any(artefact.kind == "volume" for artefact in ctx.job.artefacts):
        return
    ctx.fence()
    for name in ctx.target.volumes(ctx.move.volume_prefix()):
        ctx.target.delete_volume(name)
    for artefact in ctx.job.artefacts:
        if artefact.kind == "volume":
            ctx.store.drop(ctx.job.id, "volume", artefact.name)
    for path in ctx.folder.glob("disk-*.manifest.json"):
        path.unlink()


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    spec = ctx.target_spec
    return [
        Leftover(
            what=f"volume {artefact.name} (or a part of it) in pool {spec.pool} of {spec.name}",
            cause=cause,
            command=f"virsh -c {spec.uri} vol-delete --pool {spec.pool} {artefact.name}",
        )
        for artefact in ctx.job.artefacts
        if artefact.kind == "volume"
    ]
