"""Where a plan stands: what its page, its list and its command show. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.domain.job import JobGlance, JobSummary
from app.domain.plan import ItemState, Plan, PlanState, Wave
from app.domain.plan_run import open_waves, wave_waits
from app.domain.plan_state import MOVING, Entry, counts, is_over, planned, vms_text, wave_names
from app.domain.plan_verbs import verbs

WaveState = Literal["waiting", "running", "succeeded", "failed"]
Jobs = Mapping[str, JobGlance] | Mapping[str, JobSummary]  # by their ids, the newest of each item that was started
NAMED = 5  # VMs that a sentence names


@dataclass(frozen=True)
class Amount:
    """Bytes of disks: `done` were written, `skipped` are known to be zeros."""

    total: int
    done: int
    skipped: int

    @property
    def left(self) -> int:
        return max(0, self.total - self.done - self.skipped)


@dataclass(frozen=True)
class WaveStanding:
    """`started_at` is of its first job, `ended_at` of its last, once all of it is over."""

    wave: Wave
    state: WaveState
    counts: dict[ItemState, int]
    amount: Amount
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Standing:
    """`rate`: bytes a second, `eta_s`: for what is left to copy; both None while nothing is copied."""

    plan: Plan
    counts: dict[ItemState, int]
    amount: Amount
    rate: float | None
    eta_s: float | None
    next_cutover_at: datetime | None
    waves: tuple[WaveStanding, ...]
    needs_human: tuple[str, ...]
    next_action: str
    verbs: tuple[str, ...]


def standing(plan: Plan, entries: Sequence[Entry], jobs: Jobs, now: datetime) -> Standing:
    items = planned(entries)
    amount = _amount(items, jobs)
    rates = [job.progress.rate for entry in items if (job := jobs.get(entry.job_id)) and job.progress.rate]
    copying = sum(rates) if any(entry.state is ItemState.RUNNING for entry in items) else 0.0
    by_wave: dict[str, list[Entry]] = defaultdict(list)
    for entry in items:
        by_wave[entry.wave].append(entry)
    return Standing(
        plan=plan,
        counts=counts(entry.state for entry in entries),
        amount=amount,
        rate=copying or None,
        eta_s=round(amount.left / copying, 1) if copying else None,
        next_cutover_at=_next_cutover(plan, items, now),
        waves=tuple(
            _wave(plan.wave(name) or Wave(name=name), by_wave[name], jobs) for name in wave_names(plan, entries)
        ),
        needs_human=tuple(_needs_human(plan, items, jobs, now)),
        next_action=_next_action(plan, items, now),
        verbs=verbs(plan, entries),
    )


def _wave(wave: Wave, entries: Sequence[Entry], jobs: Jobs) -> WaveStanding:
    mine = [job for entry in entries if (job := jobs.get(entry.job_id))]
    over = bool(entries) and is_over(entries)
    ended = [job.ended_at for job in mine if job.ended_at]
    return WaveStanding(
        wave=wave,
        state=_wave_state(entries, over=over),
        counts=counts(entry.state for entry in entries),
        amount=_amount(entries, jobs),
        started_at=min((job.started_at for job in mine if job.started_at), default=None),
        ended_at=max(ended) if over and ended else None,
    )


def _wave_state(entries: Sequence[Entry], *, over: bool) -> WaveState:
    if over:
        return "succeeded" if all(entry.state is ItemState.SUCCEEDED for entry in entries) else "failed"
    begun = any(entry.state not in (ItemState.WAITING, ItemState.HELD) for entry in entries)
    return "running" if begun else "waiting"


def _amount(entries: Iterable[Entry], jobs: Jobs) -> Amount:
    total = done = skipped = 0
    for entry in entries:
        job = jobs.get(entry.job_id)
        if job is None or not job.progress.bytes_total or entry.state is ItemState.WAITING:
            total += entry.bytes
        else:
            total += job.progress.bytes_total
            done += job.progress.bytes_done
            skipped += job.progress.bytes_skipped
    return Amount(total, done, skipped)


def _next_cutover(plan: Plan, entries: Iterable[Entry], now: datetime) -> datetime | None:
    """When the next source is shut down at the earliest, where that has a time."""
    times = (
        max(at for at in (entry.cutover_at, wave.starts_at if wave else None) if at is not None)
        for entry in entries
        if entry.state is ItemState.WAITING
        and (((wave := plan.wave(entry.wave)) and wave.starts_at) or entry.cutover_at)
    )
    return min((at for at in times if at > now), default=None)


def _needs_human(plan: Plan, entries: Sequence[Entry], jobs: Jobs, now: datetime) -> Iterable[str]:
    """What somebody has to do, in sentences: the most urgent first."""
    left = [entry for entry in entries if entry.state is ItemState.ROLLBACK_FAILED]
    if left:
        yield f"{_named(left)}: something is left over; run the commands that the job lists, then roll it back again."
    rooms = [entry for entry in entries if _waits_for_room(jobs.get(entry.job_id))]
    if rooms:
        yield f"{_named(rooms)}: no room is left where they are written; make some, and they go on by themselves."
    failed = [entry for entry in entries if entry.state is ItemState.FAILED]
    if failed:
        yield f"{_named(failed)} failed: solve the cause and retry, or leave them where they are."
    if plan.state is PlanState.PAUSED and plan.reason:
        yield f"It is paused: {plan.reason}. Resume it to go on."
    for wave in open_waves(plan, entries) if plan.state is PlanState.RUNNING else ():
        wait = wave_waits(plan, wave, entries, now)
        if wait and wait.cause != "begins":
            yield sentence(wait.text)


def _waits_for_room(job: JobGlance | JobSummary | None) -> bool:
    return job is not None and job.pause is not None and job.pause.by == "space"


def _named(entries: Sequence[Entry]) -> str:
    """ "web, db and 3 more"."""
    names = ", ".join(entry.name for entry in entries[:NAMED])
    return f"{names} and {len(entries) - NAMED} more" if len(entries) > NAMED else names


def _next_action(plan: Plan, entries: Sequence[Entry], now: datetime) -> str:
    """One sentence: what happens next, or what to do."""
    moving = [entry for entry in entries if entry.state in MOVING]
    waiting = [entry for entry in entries if entry.state is ItemState.WAITING]
    match plan.state:
        case PlanState.DRAFT:
            return f"Start it: {vms_text(len(waiting))} will move." if waiting else "Import the VMs that it shall move."
        case PlanState.PAUSED:
            return f"Paused; {vms_text(len(moving))} go on to their end." if moving else "Resume it to go on."
        case PlanState.UNDOING:
            return f"Nothing to do: {vms_text(len(moving))} are being undone."
        case PlanState.RUNNING:
            for wave in open_waves(plan, entries):
                if wait := wave_waits(plan, wave, entries, now):
                    return sentence(wait.text)
            return f"Nothing to do: {vms_text(len(moving))} move, {vms_text(len(waiting))} wait."
        case PlanState.SUCCEEDED:
            return "All have moved: delete the sources when you no longer need them."
        case PlanState.FAILED:
            return "Retry what did not succeed, or roll back what did."
        case PlanState.CANCELLED:
            return "Cancelled: retry to move them after all."
    return ""


def sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def item_action(state: ItemState, held: str, error: Mapping[str, object] | None, waits: str) -> str:
    """What happens next with an item that has no job of its own to say it. `waits`: what it waits for, if it does."""
    match state:
        case ItemState.LEFT_OUT:
            return "It stays where it is: the plan does not include it."
        case ItemState.HELD:
            return f"It is not started: {held}. Retry it when that is solved."
        case ItemState.FAILED if error:
            return f"It was not started: {error.get('message', '')}. {error.get('hint', '')}".strip()
        case _:
            return waits
