"""A plan's page: its parts that change, and a row for each VM, kept short for plans of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2s
from typing import NamedTuple

from markupsafe import Markup

from app.api.deps import Services
from app.domain.plan import ItemState
from app.domain.plan_state import MOVING
from app.services.plan_standing import Standing
from app.services.plans import ItemStanding
from app.store.rows import now
from app.web.gantt import chart
from app.web.job_view import spark
from app.web.live import News
from app.web.render import fragment
from app.web.words import count, duration, percent, runs, size, steps_told, word

SPARK_POINTS = 30
ROWS_TOGETHER = 50
_URGENT = {ItemState.FAILED: "bad", ItemState.ROLLBACK_FAILED: "bad", ItemState.PAUSED: "warn", ItemState.HELD: "warn"}


class Row(NamedTuple):
    """A line of the table. `state`, `disks` and `next` are cells that are sent again when they change."""

    id: str
    key: str
    name: str
    way: str
    state: Markup
    disks: Markup
    next: Markup
    can_be_chosen: bool


class Part(NamedTuple):
    """Lines that stand together: of one wave, and so few that a browser lays out only what is seen."""

    name: str
    said: str
    rows: Sequence[Row]


def row_of(one: ItemStanding, rates: Mapping[str, list[float]]) -> Row:
    """`rates`: of jobs that copy, by their ids."""
    item, job = one.item, one.job
    pool = f", {item.options.pool}" if item.options.pool else ""
    stopping = bool(job and job.stop_requested and one.state in MOVING and one.state is not ItemState.ROLLING_BACK)
    disks = [
        (percent(disk.bytes_done, disk.capacity_bytes), percent(disk.bytes_skipped, disk.capacity_bytes))
        for disk in (job.disks if job else ())
    ]
    steps = job.steps if job else ()
    phase = word(job.phase) if job and one.state is ItemState.RUNNING else ""
    points = spark(rates.get(job.id, [])) if job else ""
    return Row(
        id=blake2s(item.key.encode(), digest_size=5).hexdigest(),
        key=item.key,
        name=item.vm_name,
        way=f"{item.source} → {item.target}{pool}",
        state=_state_cell(one.state, "stopping" if stopping else "", runs(steps), steps_told(steps), phase),
        disks=fragment("plan_parts", "disk_cell", disks, _amount(one), points),
        next=_next_cell(one.next_action, _URGENT.get(one.state, "")),
        can_be_chosen=one.state is not ItemState.LEFT_OUT,  # one that waits may move while it is looked at
    )


@lru_cache(maxsize=1000)
def _state_cell(*shown: object) -> Markup:
    """Most rows of a plan look like another one."""
    return fragment("plan_parts", "state_cell", *shown)


@lru_cache(maxsize=1000)
def _next_cell(said: str, urgent: str) -> Markup:
    return fragment("plan_parts", "next_cell", said, urgent)


def _amount(one: ItemStanding) -> str:
    """ "1.2 GiB copied, 0.4 GiB skipped, 3.1 GiB left, 120 MiB/s, 4 min"."""
    job = one.job
    if job is None or not job.progress.bytes_total:
        return size(one.item.bytes)
    progress = job.progress
    left = progress.bytes_total - progress.bytes_done - progress.bytes_skipped
    words = [f"{size(progress.bytes_done)} copied", f"{size(progress.bytes_skipped)} skipped"]
    words += [f"{size(left)} left"] if left > 0 else []
    if one.state is ItemState.RUNNING and left > 0 and progress.rate:
        words += [f"{size(progress.rate)}/s", duration(progress.eta_s)]
    return ", ".join(words)


def rows_of(found: Iterable[ItemStanding], given: Services) -> list[Row]:
    found = list(found)
    copying = [one.job.id for one in found if one.job and one.job.phase == "transfer"]
    rates = {job_id: given.store.events.rates(job_id, limit=SPARK_POINTS) for job_id in copying}
    return [row_of(one, rates) for one in found]


def plan_parts(it: Standing, given: Services) -> dict[str, Markup]:
    """id of the element → what is in it."""
    at = now().replace(second=0, microsecond=0)  # so that what only the clock changes is sent once a minute
    drawn = chart(it, given.settings.max_jobs, at)
    made = {
        "head": fragment("plan_parts", "head", it),
        "totals": fragment("plan_parts", "totals", it, at),
        "axis": fragment("plan_parts", "axis", drawn),
    }
    for place, lane in enumerate(drawn.lanes):
        made[f"lane{place}"] = fragment("plan_parts", "lane", lane, drawn.now, it.plan.name)
    return made


def parts_of(it: Standing, found: Sequence[ItemStanding], given: Services) -> list[Part]:
    waves: dict[str, list[Row]] = {wave.wave.name: [] for wave in it.waves}
    for one, row in zip(found, rows_of(found, given), strict=True):
        waves.setdefault(one.item.wave, []).append(row)
    made = []
    for name, rows in waves.items():
        for start in range(0, len(rows), ROWS_TOGETHER):
            some = rows[start : start + ROWS_TOGETHER]
            where = f"{start + 1} to {start + len(some)} of " if len(rows) > len(some) else ""
            made.append(Part(f"Wave {name}", where + count(len(rows), "VM"), some))
    return made


def row_parts(row: Row) -> dict[str, str]:
    return {f"s{row.id}": row.state, f"d{row.id}": row.disks, f"n{row.id}": row.next}


def plan_news(plan_id: str, given: Services, last: int) -> News | None:
    found = given.store.events.after(last, plan_id=plan_id, limit=500)
    if not found:
        return None
    it, changed = given.plans.changed(plan_id, {event.job_id for event in found if event.job_id})
    parts: dict[str, str] = dict(plan_parts(it, given))
    for row in rows_of(changed, given):
        parts |= row_parts(row)
    return News(found[-1].id, parts)
