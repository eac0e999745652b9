"""Jobs as users ask for them: what a request names is resolved here, and what is known to fail is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app import preflight
from app.domain.errors import Conflict, InvalidRequest, NotFound, PreflightFailed
from app.domain.hardware import hardware_for
from app.domain.hardware.placement import taken_by_others
from app.domain.job import Job, JobSummary, Pause
from app.domain.libvirt_xml import domain_xml
from app.domain.lifecycle import begun, pending_steps
from app.domain.limits import Limit, ScopedLimit
from app.domain.models import Concern, Disk
from app.domain.move import Move, MoveOptions, OnFailure
from app.domain.registered import ListedVM, RegisteredSource, RegisteredTarget
from app.domain.space import reservations
from app.domain.states import STEPS, JobState
from app.services.moves import facts_of, planned
from app.store.rows import new_id, now
from app.store.store import Store

FRESH = timedelta(minutes=1)
OF_THE_REQUEST = frozenset(  # another request puts these right
    {
        "domain_name_invalid",
        "pool_unknown",
        "network_not_mapped",
        "network_invalid",
        "passthrough_device",
        "hostdev_unknown",
        "hostdev_invalid",
    }
)


@dataclass(frozen=True)
class DryRun:
    """What a job would do. `domain_xml` is empty when a blocker leaves it undefined."""

    concerns: list[Concern]
    disks: tuple[Disk, ...]
    bytes_total: int
    domain_xml: str
    steps: tuple[str, ...]


class Jobs:
    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(
        self,
        source: str,
        vm: str,
        target: str,
        options: MoveOptions,
        *,
        limit: Limit | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> Job:
        """A queued job. `source`, `vm` and `target` are ids or names; no target means the only one.

        `keys`: of encrypted disks, as a converter takes them.

        Raises as prepare does.
        """
        job = self.prepare(source, vm, target, options)
        scoped = ScopedLimit(scope="job", subject=job.id, **dict(limit)) if limit else None
        return self._store.requests.submit(job, scoped, keys)

    def prepare(self, source: str, vm: str, target: str, options: MoveOptions, *, plan_id: str = "") -> Job:
        """A job to be submitted.

        Raises PreflightFailed for blockers that are known already, NotFound, Conflict, InvalidRequest.
        """
        from_, listed, to = self._resolve(source, vm, target)
        job = Job(
            id=new_id(),
            vm_id=listed.vm.id,
            vm_name=listed.vm.name,
            source_id=from_.id,
            source_name=from_.name,
            target_id=to.id,
            target_name=to.name,
            plan_id=plan_id,
            options=options,
            vm=listed.vm,
            created_at=now(),
        )
        self._refuse_early(self._move(job.id, listed, to, options), listed, to)
        return job.model_copy(update={"steps": pending_steps(job)})

    def dry_run(self, source: str, vm: str, target: str, options: MoveOptions) -> DryRun:
        """Judged by the stored inventory and the target's last check; nothing is touched. Raises as submit does."""
        _, listed, to = self._resolve(source, vm, target)
        facts = facts_of(to)
        move = self._move("dry-run", listed, to, options)
        return DryRun(
            concerns=preflight.run(move, facts),
            disks=listed.vm.disks,
            bytes_total=listed.vm.disk_bytes,
            domain_xml=_planned_xml(move, to),
            steps=STEPS[options.strategy],
        )

    def planned_xml(self, job: Job) -> str:
        """The domain that a job makes, by its VM as it was seen last; "" where that cannot be told (any more)."""
        try:
            to = self._store.targets.get(job.target_id)
        except NotFound:
            return ""
        return _planned_xml(planned(job.id, job.vm, to, job.options, ()), to) if job.vm else ""

    def pause(self, job_id: str) -> Job:
        return self._store.requests.pause(job_id)

    def resume(self, job_id: str) -> Job:
        return self._store.requests.resume(job_id)

    def cancel(self, job_id: str) -> Job:
        return self._store.requests.cancel(job_id)

    def retry(self, job_id: str) -> Job:
        return self._store.requests.retry(job_id)

    def roll_back(self, job_id: str, *, confirm_data_loss: bool) -> Job:
        """Raises Conflict for a job that succeeded, unless the loss of what was written since is confirmed."""
        job = self._store.jobs.job(job_id)
        if job.state is JobState.SUCCEEDED and not confirm_data_loss:
            raise Conflict(
                f"{job.vm_name} has been moved: a rollback removes it from {job.target_name} with its disks, and "
                f"everything written there since {job.ended_at:%Y-%m-%d %H:%M} UTC is lost",
                'Repeat it with {"confirm_data_loss": true} if that is what you want.',
                code="confirmation_needed",
            )
        return self._store.requests.roll_back(job_id)

    @staticmethod
    def _refuse_early(move: Move, listed: ListedVM, to: RegisteredTarget) -> None:
        """Raise PreflightFailed for blockers that nobody needs to wait for; a worker looks again in any case.

        What was seen a while ago may have been put right since, so that it refuses nothing: the worker will tell.
        """
        if to.facts is None or to.checked_at is None:
            return
        fresh = now() - min(listed.seen_at, to.checked_at) < FRESH
        concerns = preflight.run(move, to.facts)
        if any(c.severity == "blocker" and (fresh or c.code in OF_THE_REQUEST) for c in concerns):
            raise PreflightFailed(concerns)

    def _move(self, job_id: str, listed: ListedVM, to: RegisteredTarget, options: MoveOptions) -> Move:
        reserved = reservations(self._store.requests.sharing_pool(to.id, options.pool))
        return planned(job_id, listed.vm, to, options, reserved)

    def _resolve(self, source: str, vm: str, target: str) -> tuple[RegisteredSource, ListedVM, RegisteredTarget]:
        from_ = self._store.sources.get(source)
        to = self._store.targets.get(target) if target else self._store.targets.only()
        return from_, self._store.inventory.find(from_.id, vm), to


def _planned_xml(move: Move, to: RegisteredTarget) -> str:
    pool = to.facts.pool(move.target.pool) if to.facts else None
    if pool is None or to.facts is None:
        return ""
    paths = [f"{pool.path}/{move.volume_name(index)}" for index in range(len(move.vm.disks))]
    try:
        hardware = hardware_for(
            move,
            disk_paths=paths,
            domain_uuid=move.vm.uuid,
            accelerator=to.facts.accelerator,
            has_tpm=to.facts.tpm,
            host=to.facts.host,
            taken=taken_by_others(to.facts.domains, move.job_id),
        )
        return domain_xml(hardware)
    except InvalidRequest:  # a name or a network that the concerns tell about
        return ""


def next_action(job: Job | JobSummary) -> str:
    """One sentence for whoever looks at the job: what will happen, or what to do."""
    match job.state:
        case JobState.QUEUED | JobState.RUNNING | JobState.PAUSED if job.stop_requested:
            return "Stopping; then what was done is undone."
        case JobState.QUEUED:
            return "Waits for a worker with a free slot" + (", and goes on where it was." if begun(job) else ".")
        case JobState.RUNNING if job.pause:
            return "Pausing: the step under way stops at its next safe point."
        case JobState.RUNNING:
            return "Nothing to do: a worker is on it."
        case JobState.PAUSED:
            return _waits_for(job.pause)
        case JobState.SUCCEEDED:
            running = "runs" if job.boot and job.boot.kind else "is there"
            return f"{job.vm_name} {running} on {job.target_name}; delete the source when you no longer need it."
        case JobState.FAILED if job.on_failure is OnFailure.HOLD:
            return "Solve the cause, then retry to go on from the copied disks, or roll back to start the source again."
        case JobState.FAILED:
            return "All was undone: solve the cause and retry."
        case JobState.CANCELLED:
            return "All was undone: submit it again when you like."
        case JobState.ROLLING_BACK:
            return "Nothing to do: what was done is being undone."
        case JobState.ROLLED_BACK:
            return "All was undone: submit it again when you like."
        case JobState.ROLLBACK_FAILED:
            return "Run the command of each leftover, then roll back again."


def _waits_for(pause: Pause | None) -> str:
    if pause is None or pause.by == "user":
        return "Paused: resume it to go on where it was, or cancel it."
    if pause.resume_at_bytes is None:
        return f"Waits for room: {pause.detail}. Make room and resume it, or cancel it."
    return f"Waits for room: {pause.detail}. It goes on by itself when there is more; resume lets it try at once."


def actions(job: Job | JobSummary) -> tuple[str, ...]:
    """The verbs that this job takes now."""
    match job.state:
        case JobState.QUEUED | JobState.RUNNING | JobState.PAUSED if job.stop_requested:
            return ()
        case JobState.QUEUED | JobState.RUNNING:
            return ("cancel", "resume" if job.pause else "pause")
        case JobState.PAUSED if job.pause and job.pause.by == "space":
            return ("cancel", "pause", "resume")
        case JobState.PAUSED:
            return ("cancel", "resume")
        case JobState.FAILED:
            return ("retry", "rollback")
        case JobState.SUCCEEDED | JobState.CANCELLED | JobState.ROLLBACK_FAILED:
            return ("rollback",)
        case _:
            return ()


def seconds(started: datetime | None, ended: datetime | None) -> float | None:
    """How long something took; None while it is under way or has not begun."""
    return None if started is None or ended is None else round((ended - started).total_seconds(), 3)
