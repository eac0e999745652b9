"""vmferry job: what became of a move, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import files, output
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.cli.watch import summary, until_paused, watch

app = typer.Typer(help="What became of a move, and what to do about it.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait at most; the job goes on.")]


@app.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """List jobs, newest first."""
    jobs = connect().list("jobs", state=state)
    output.show(
        form,
        jobs,
        ("ID", "VM", "SOURCE", "TARGET", "STRATEGY", "STATE", "PHASE", "CREATED"),
        (
            (
                job["id"],
                job["vm"]["name"],
                job["source"]["name"],
                job["target"]["name"],
                job["strategy"],
                job["state"],
                job["phase"],
                job["created_at"][:19].replace("T", " "),
            )
            for job in jobs
        ),
    )


@app.command()
def show(job_id: JobId, form: OutputOption = Output.TABLE) -> None:
    """Show one job: its steps, what was copied, and what can be done next."""
    _show(connect().get(f"jobs/{job_id}"), form)


@app.command("watch")
def watch_job(job_id: JobId, timeout: Timeout = None, form: OutputOption = Output.TABLE) -> None:
    """Follow a job to its end. The exit code says how it ended."""
    watch(connect(), job_id, timeout, form, wanted=("succeeded", "rolled_back"))


@app.command()
def pause(
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it rests.")] = False,
    timeout: Timeout = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Let a job rest. Nothing is undone: it keeps what it has copied, and its source as it is."""
    client = connect()
    job = client.post(f"jobs/{job_id}/pause")
    _show(until_paused(client, job, timeout) if wait else job, form)


@app.command()
def resume(job_id: JobId, wait: Wait = False, timeout: Timeout = None, form: OutputOption = Output.TABLE) -> None:
    """Let a paused job go on where it was, as soon as a slot is free."""
    client = connect()
    _after(client, client.post(f"jobs/{job_id}/resume"), wait, timeout, form, wanted="succeeded")


@app.command()
def cancel(job_id: JobId, wait: Wait = False, timeout: Timeout = None, form: OutputOption = Output.TABLE) -> None:
    """Stop a job and undo what it did."""
    client = connect()
    _after(client, client.post(f"jobs/{job_id}/cancel"), wait, timeout, form, wanted="cancelled")


@app.command()
def retry(job_id: JobId, wait: Wait = False, timeout: Timeout = None, form: OutputOption = Output.TABLE) -> None:
    """Try a failed job again: from the start, or where it held with --on-failure hold."""
    client = connect()
    _after(client, client.post(f"jobs/{job_id}/retry"), wait, timeout, form, wanted="succeeded")


@app.command()
def rollback(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Undo a job that has ended: the target's VM is removed, and the source runs again as it did."""
    client = connect()
    job = client.get(f"jobs/{job_id}")
    loses = job["state"] == "succeeded"
    if loses and not yes:
        typer.confirm(
            f"{output.clean(job['vm']['name'])} runs on {output.clean(job['target']['name'])} now. Everything that was "
            "written there since the move will be lost. Roll back?",
            abort=True,
            err=True,
        )
    answer = client.post(f"jobs/{job_id}/rollback", {"confirm_data_loss": loses})
    _after(client, answer, wait, timeout, form, wanted="rolled_back")


@app.command()
def logs(job_id: JobId, form: OutputOption = Output.TABLE) -> None:
    """Print what happened in a job, oldest first."""
    events = connect().list(f"jobs/{job_id}/events")
    if form is Output.JSON:
        output.show_json(events)
        return
    console = output.stdout()
    for event in events:
        if event["kind"] != "job.progress":
            line = f"{event['at'][:19]} {event['level']:7} {output.clean(event['message'])}"
            console.print(line, markup=False, soft_wrap=True)


@app.command()
def report(
    job_id: JobId,
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file.")] = None,
) -> None:
    """Everything recorded about a job as one JSON document: the job with its steps and disks, and its events."""
    client = connect()
    document = {"job": client.get(f"jobs/{job_id}"), "events": client.list(f"jobs/{job_id}/events")}
    if to is None:
        output.show_json(document)
    else:
        _write((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), to)


@app.command()
def manifest(
    job_id: JobId,
    disk: Annotated[int | None, typer.Option(help="The disk's key; may be left out when there is one only.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file.")] = None,
) -> None:
    """The hashes of a disk as it left the source, for `vmferry image verify`."""
    client = connect()
    if disk is None:
        keys = [item["key"] for item in client.list(f"jobs/{job_id}/disks")]
        if len(keys) != 1:
            raise CliError(
                Exit.USAGE, "disk", f"the job has {len(keys)} disks", f"Give --disk: {', '.join(map(str, keys))}"
            )
        disk = keys[0]
    _write(client.get_bytes(f"jobs/{job_id}/disks/{disk}/manifest"), to)


def _write(content: bytes, to: Path | None) -> None:
    if to is None:
        print(content.decode(), end="")
    else:
        files.write(content, to)


def _after(
    client: Client, job: Mapping[str, Any], wait: bool, timeout: float | None, form: Output, *, wanted: str
) -> None:
    if wait:
        watch(client, job["id"], timeout, form, wanted=(wanted,))
    else:
        _show(job, form)


def _show(job: Mapping[str, Any], form: Output) -> None:
    if form is Output.JSON:
        output.show_json(job)
    else:
        output.stdout().print(summary(job))
        if job["leftovers"]:
            output.stdout().print(
                output.table(
                    ("LEFT OVER", "BECAUSE", "REMOVE IT WITH"),
                    ((item["what"], item["cause"], item["command"]) for item in job["leftovers"]),
                )
            )
