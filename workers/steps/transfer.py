"""Copy the disks over the best way that works, side by side, straight into volumes of the pool.

A disk is written under its name with `.part`, with a journal beside it that a later attempt goes on from, and takes its
own name when it is whole; then its manifest is beside the job. A disk that has its name is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from app.domain.errors import TransientError, TransportRefused
from app.domain.models import Artefact, Disk, Leftover, Way
from app.ports.disks import DiskAccess
from app.ports.source import CancelCheck
from workers.steps.context import StepContext
from workers.transfer.copy import CopyProgress, Pace, copy_disk, read_again
from workers.transfer.journal import Journal, sync_folder
from workers.transfer.meter import Meter
from workers.transfer.side_by_side import side_by_side

ENOUGH_FAILURES = 2  # of one transport in one job, until the next best is taken


def manifest_path(folder: Path, index: int) -> Path:
    return folder / f"disk-{index}.manifest.json"


def do(ctx: StepContext) -> str:
    job, vm, move = ctx.job, ctx.vm, ctx.move
    ctx.require_source_off()
    left = [index for index in range(len(vm.disks)) if not _is_finished(ctx, index)]
    expected = {move.volume_name(index) for index in range(len(vm.disks))}
    for name in ctx.target.volumes(move.volume_prefix()):
        if name.removesuffix(".journal").removesuffix(".part") not in expected:
            ctx.target.delete_volume(name)
    meter = Meter(ctx.clock, vm.disks, lambda disks, rate, eta: ctx.store.progress(job.id, disks, rate, eta))
    for index, disk in enumerate(vm.disks):
        if index not in left:
            meter.resume(disk.key, job.disks)
    way = _over_the_best_way(ctx, left, meter) if left else None
    ctx.require_source_off()
    return meter.summary() + (f", over {way.transport}" if way else "")


def _over_the_best_way(ctx: StepContext, left: list[int], meter: Meter) -> Way:
    """Copy over the first way; where it is refused, over the second, with a note. Answers the one that worked."""
    ways = _ways(ctx)
    for number, way in enumerate(ways[:2]):
        ctx.event(f"transport {way.transport}: {way.reason}")
        try:
            with ctx.source.access(ctx.job.vm_id, way.transport, cancel=ctx.cancel) as access:
                _copy_disks(ctx, access, left, meter)
        except TransientError:
            _count_failure(ctx, way, 1)
            raise
        except TransportRefused as error:
            _count_failure(ctx, way, ENOUGH_FAILURES)
            if number or len(ways) == 1:
                raise
            ctx.event(f"{way.transport} does not work here: {error.message}", level="warning")
        else:
            return way
    raise AssertionError("a loop over one or two ways ends inside")


def _ways(ctx: StepContext) -> list[Way]:
    """The usable ways, the best first; those that failed often enough in this job come last."""
    wanted = ctx.job.options.transport
    ways = [way for way in ctx.source.ways(ctx.vm) if wanted in (None, way.transport)]
    if not any(way.usable for way in ways):
        why = "; ".join(f"{way.transport}: {way.reason}" for way in ways) or f"there is no transport {wanted} here"
        raise TransportRefused(f"the disks of {ctx.vm.name} cannot be read: {why}")
    failures = ctx.job.data.get("transport_failures", {})
    usable = [way for way in ways if way.usable]
    return sorted(usable, key=lambda way: failures.get(way.transport, 0) >= ENOUGH_FAILURES)


def _count_failure(ctx: StepContext, way: Way, count: int) -> None:
    failures = dict(ctx.job.data.get("transport_failures", {}))
    failures[way.transport] = failures.get(way.transport, 0) + count
    ctx.store.record(ctx.job.id, data={"transport_failures": failures})


def _copy_disks(ctx: StepContext, access: DiskAccess, left: list[int], meter: Meter) -> None:
    adapters = ctx.adapters
    host = f"{ctx.job.source_id} {ctx.vm.host}"
    wanted = min(access.connections, adapters.disk_connections * len(left))
    with adapters.slots.hold(host, wanted, ctx.cancel) as connections, ExitStack() as journals:
        at_once = min(len(left), connections)
        pace = Pace(
            connections=max(1, connections // at_once),
            threads=max(1, adapters.transfer_workers // at_once),
            take=ctx.throttle.take,
        )
        tasks = [_copying(ctx, access, index, pace, meter, journals) for index in left]
        side_by_side(tasks, at_once=at_once, cancel=ctx.cancel)


def _copying(
    ctx: StepContext, access: DiskAccess, index: int, pace: Pace, meter: Meter, journals: ExitStack
) -> Callable[[CancelCheck], None]:
    """Make ready what one disk needs; the answer copies it, in any thread."""
    disk, name = ctx.vm.disks[index], ctx.move.volume_name(index)
    source = access.disk(disk.key)
    ctx.store.keep(ctx.job.id, Artefact(kind="volume", name=name))
    path, journal = _begun(ctx, f"{name}.part", disk, f"{source.identity}, off since {ctx.job.off_since}")
    journals.enter_context(journal)
    second_read = ctx.job.options.second_read
    image = ctx.target_spec.image

    def progress(seen: CopyProgress) -> None:
        meter.update(disk.key, seen)
        access.report_percent(meter.percent())

    def copy(cancel: CancelCheck) -> None:
        manifest = copy_disk(
            source, path, journal, image=image, pace=pace, progress=progress, cancel=cancel, name=str(disk.key)
        )
        if second_read != "none":
            compared = read_again(source, journal.table, second_read, pace=pace, cancel=cancel)
            ctx.event(f"{disk.label}: {compared >> 20} MiB of the source read a second time, and equal")
        ctx.fence()
        manifest.save(manifest_path(ctx.folder, index))
        path.rename(path.with_name(name))
        journal.path.unlink()
        sync_folder(path.parent)
        ctx.store.keep(ctx.job.id, Artefact(kind="volume", name=name, made=True))

    return copy


def _begun(ctx: StepContext, part: str, disk: Disk, identity: str) -> tuple[Path, Journal]:
    """The volume and journal of an earlier attempt at the same content, or new ones."""
    if (path := ctx.target.volume_path(part)) is not None:
        journal = Journal.resume(_journal_path(path), identity, disk.capacity_bytes)
        if journal is not None:
            if journal.table.known_bytes:
                ctx.event(f"{disk.label}: {journal.table.data_bytes >> 20} MiB are on the target already")
            return path, journal
    path = ctx.target.create_volume(part, disk.capacity_bytes, ctx.target_spec.image, cancel=ctx.cancel)
    return path, Journal.create(_journal_path(path), identity, disk.capacity_bytes)


def _journal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


def _is_finished(ctx: StepContext, index: int) -> bool:
    """It takes its name only when it is whole and its manifest is saved."""
    return ctx.target.volume_path(ctx.move.volume_name(index)) is not None and manifest_path(ctx.folder, index).exists()


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
