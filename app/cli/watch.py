"""Following a job: its bars, and what became of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.boot import boot_tables
from app.cli.client import LONG_POLL_S, Client
from app.cli.exits import CliError, Exit, from_ended_job
from app.cli.live import View, after, live_view, until
from app.cli.output import Output, clean, duration, size
from app.domain.states import TERMINAL

_MARKS = {"pending": "·", "running": "▸", "paused": "‖", "succeeded": "✓", "skipped": "-", "failed": "✗", "undone": "↶"}


def watch(
    client: Client, job_id: str, timeout_s: float | None, form: Output, *, wanted: tuple[str, ...] = ("succeeded",)
) -> None:
    """Follow a job to its end and print what became of it. Raises CliError unless it ended in a wanted state."""
    with live_view(_progress, _picture) as view:
        job = follow(client, job_id, timeout_s, view)
    if form is Output.JSON:
        output.show_json(job)
    else:
        output.stdout().print(summary(job))
    if error := from_ended_job(job, wanted=wanted):
        raise error


def follow(client: Client, job_id: str, timeout_s: float | None, view: View) -> dict[str, Any]:
    """The job as it ended. Raises CliError when the time is over first; the job goes on then."""
    job = until(
        client.events(f"jobs/{job_id}/events", deadline=after(timeout_s)),
        lambda: client.get(f"jobs/{job_id}"),
        lambda job: job["state"] in TERMINAL,
        view,
        at_once="job.state",
    )
    if job is None:
        raise CliError(
            Exit.TIMED_OUT, "wait_timed_out", f"job {job_id} has not ended within {timeout_s:g} s", "The job goes on."
        )
    return job


def until_paused(client: Client, job: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
    """The job as it rests. Raises CliError when the time is over first, or when it has ended instead."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while job["state"] != "paused":
        if job["state"] in TERMINAL:
            raise CliError(Exit.CONFLICT, "not_paused", f"job {job['id']} has ended: it is {job['state']}")
        if (left := deadline - time.monotonic()) <= 0:
            raise CliError(
                Exit.TIMED_OUT, "wait_timed_out", f"job {job['id']} is not paused after {timeout_s:g} s", "It will be."
            )
        job = client.get(f"jobs/{job['id']}", wait=min(left, LONG_POLL_S))
    return job


def _progress(job: Mapping[str, Any]) -> str:
    if job["state"] != "running":
        return ""
    copying = job["phase"] in ("transfer", "verify_copy")
    return f"{job['phase']}: {totals(job['progress']) if copying else 'still at work'}"


def _picture(job: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Its steps, and a bar for each disk."""
    yield _heading(job)
    if job["state"] == "paused":
        yield Text(clean(job["next_action"]), style="yellow")
    yield _trail(job)
    yield _disk_bars(job)


def summary(job: Mapping[str, Any]) -> RenderableType:
    """A job as it is now: for `job show`, and at the end of `job watch`."""
    boot, guest, progress = job.get("boot") or {}, job.get("guest") or {}, job["progress"]
    kind = boot.get("kind")
    parts: list[RenderableType] = [
        output.fields(
            {
                "job": job["id"],
                "vm": job["vm"]["name"],
                "source": job["source"]["name"],
                "target": job["target"]["name"],
                "strategy": job["strategy"],
                "state": job["state"],
                "phase": job["phase"],
                "copied": totals(progress),
                "converter": guest and f"{guest['converter']}: {guest['reason']}",
                "came up": kind and f"seen by {kind} after {boot['seconds']:.0f} s: {boot['detail']}",
                "next": job["next_action"],
            }
        ),
        output.table(
            ("", "STEP", "SECONDS", "TRIES", ""),
            (
                (_MARKS[s["state"]], s["name"], _seconds(s), s["attempts"] or "", s.get("detail") or _why(s))
                for s in job["steps"]
            ),
        ),
    ]
    if boot:
        parts += boot_tables(boot)
    if concerns := [*job["concerns"], *guest.get("concerns", ())]:
        parts.append(output.concerns(concerns))
    return Group(*parts)


def totals(progress: Mapping[str, Any]) -> str:
    """ "1.2 GiB of 2.0 GiB, 0.9 GiB of it zeros, 80 MiB/s, 0:10 left"."""
    done, skipped, total = progress["bytes_done"], progress["bytes_skipped"], progress["bytes_total"]
    words = [f"{size(done + skipped)} of {size(total)}"]
    if skipped:
        words.append(f"{size(skipped)} of it zeros that were skipped")
    if progress.get("rate"):
        words.append(f"{size(progress['rate'])}/s")
    if progress.get("eta_s") is not None:
        words.append(f"{duration(progress['eta_s'])} left")
    return ", ".join(words)


def _heading(job: Mapping[str, Any]) -> Text:
    way = f"{job['vm']['name']}: {job['source']['name']} → {job['target']['name']}"
    return Text.assemble((clean(way), "bold"), f"  {job['state']}  {totals(job['progress'])}")


def _trail(job: Mapping[str, Any]) -> Text:
    styles = {"running": "bold cyan", "paused": "yellow", "failed": "red", "pending": "dim"}
    return Text("  ").join(Text(f"{_MARKS[s['state']]} {s['name']}", styles.get(s["state"], "")) for s in job["steps"])


def _disk_bars(job: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 1))
    verifying = job["phase"] == "verify_copy"
    for disk in job["disks"]:
        done = disk["verified_bytes"] if verifying else disk["bytes_done"] + disk["bytes_skipped"]
        capacity = disk["capacity_bytes"]
        grid.add_row(
            clean(disk["label"]),
            ProgressBar(total=capacity or 1, completed=done, width=40),
            f"{done * 100 // (capacity or 1)} %",
            f"{'verified ' if verifying else ''}{size(done)} of {size(capacity)}",
        )
    return grid


def _seconds(step: Mapping[str, Any]) -> str:
    return "" if step.get("seconds") is None else f"{step['seconds']:.1f}"


def _why(step: Mapping[str, Any]) -> str:
    return str((step.get("error") or {}).get("message", ""))
