"""What a step works with: the job as it is now, the adapters, and the questions it must ask on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import structlog

from app.domain.errors import NotFound, SourceChanged
from app.domain.job import Job
from app.domain.models import VM, Leftover, SourceSpec, TargetSpec
from app.domain.move import ConverterName, Move
from app.ports.clock import Clock
from app.ports.converter import Converter
from app.ports.source import Source
from app.ports.store import JobStore
from app.ports.target import Target
from workers.room import Room, room_at
from workers.transfer.slots import HostSlots
from workers.transfer.throttle import LimitsWatcher, Throttle, Throttles


@dataclass(frozen=True)
class Adapters:
    """How a worker gets at the world; the composition root fills it in, tests fill in others."""

    open_source: Callable[[SourceSpec], Source]
    open_target: Callable[[TargetSpec], Target]
    converters: Mapping[ConverterName, Converter]
    clock: Clock
    home: Path  # VMFERRY_HOME
    transfer_workers: int = 2  # threads that inflate, hash and write the streams of a job
    disk_connections: int = 4  # to the source, for each disk that is read in ranges
    slots: HostSlots = field(default_factory=lambda: HostSlots(8))
    room: Callable[[Path], Room | None] = room_at
    space_poll_s: float = 5.0  # how often a job that waits for room looks

    @cached_property
    def throttles(self) -> Throttles:
        return Throttles(self.clock)


class Step(Protocol):
    """A file of workers/steps: `do` answers one line for people; `undo` removes what `do` made, whole or half."""

    def do(self, ctx: StepContext) -> str: ...
    def undo(self, ctx: StepContext) -> None: ...
    def leftovers(self, ctx: StepContext, cause: str) -> Sequence[Leftover]:
        """What may still be there when `undo` failed, each with the command that removes or restores it."""
        ...


class StepContext:
    """One attempt at one step. Adapters are opened when first used and closed when the attempt ends."""

    def __init__(
        self,
        job_id: str,
        store: JobStore,
        adapters: Adapters,
        *,
        attempt: int,
        cancel: Callable[[], None],
        fence: Callable[[], None],
    ) -> None:
        self.store = store
        self.adapters = adapters
        self.clock = adapters.clock
        self.attempt = attempt
        self.fence = fence  # raises Parked when another worker has taken the job over
        self.log = structlog.get_logger("job").bind(job_id=job_id)
        self._check = cancel
        self._watcher: LimitsWatcher | None = None
        self._job_id = job_id
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.close()

    @property
    def job(self) -> Job:
        return self.store.job(self._job_id)

    def cancel(self) -> None:
        """Raise Cancelled, Paused or Parked when the work shall stop; a throttle in use follows its limits by this."""
        self._check()
        if self._watcher is not None:
            self._watcher.poll()

    @cached_property
    def throttle(self) -> Throttle:
        """What the bytes read from the source pass through. Whoever uses it must call `cancel` now and then."""
        throttle = self.adapters.throttles.of(self._job_id, self.job.source_id)
        watcher = LimitsWatcher(lambda: self.store.limits(self._job_id), throttle, self.clock)
        watcher.poll()
        self._watcher = watcher
        return throttle

    @cached_property
    def source(self) -> Source:
        source = self.adapters.open_source(self.store.source(self.job.source_id))
        self._opened.callback(source.close)
        return source

    @cached_property
    def target_spec(self) -> TargetSpec:
        """The target as this job uses it."""
        job = self.job
        return job.options.for_target(self.store.target(job.target_id))

    @cached_property
    def target(self) -> Target:
        target = self.adapters.open_target(self.target_spec)
        self._opened.callback(target.close)
        return target

    @property
    def vm(self) -> VM:
        """The VM as preflight recorded it."""
        vm = self.job.vm
        if vm is None:
            raise NotFound(f"job {self._job_id} has no recorded VM", "Retry the job.")
        return vm

    @property
    def move(self) -> Move:
        """The move of the recorded VM, with the power state that it had before we shut it down."""
        job, vm = self.job, self.vm
        if job.before is not None:
            vm = vm.model_copy(update={"power_state": job.before.power_state})
        return Move.of(job.id, vm, self.target_spec, job.options)

    @property
    def folder(self) -> Path:
        """Where manifests, pictures and logs of this job are; made when first asked for, for our eyes only."""
        folder = self.adapters.home / "jobs" / self._job_id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def volume(self, index: int) -> Path:
        name = self.move.volume_name(index)
        path = self.target.volume_path(name)
        if path is None:
            raise NotFound(
                f"volume {name} is gone from pool {self.target_spec.pool}",
                "Someone removed it while the job ran. Roll the job back and submit the VM again.",
                code="volume_gone",
            )
        return path

    def require_source_off(self) -> None:
        """Raise SourceChanged when the source runs, or changed since it was seen off: the copy may be stale."""
        job = self.job
        if job.off_since is None:
            raise SourceChanged("the source was never seen off", "Retry the job.")
        if self.source.started_since(job.vm_id, job.off_since):
            raise SourceChanged(
                f"{job.vm_name} was started or written on {job.source_name} while it was being moved: the copy is out"
                " of date",
                "Find out who did that; submit the move again when it stays as it is.",
            )

    def event(self, message: str, *, level: str = "info") -> None:
        self.store.event(self._job_id, "job.log", message, level=level)
        self.log.info(message)
