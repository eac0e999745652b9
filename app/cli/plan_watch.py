"""Following a plan: a bar for each wave, and one for each VM that moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.live import after, live_view, until
from app.cli.output import Output, OutputOption, clean, size
from app.cli.plan_views import PlanName, counted, needs, path, summary
from app.cli.watch import totals
from app.domain.plan import ItemState
from app.domain.plan_state import ENDED, MOVING

SHOWN = 20  # VMs that move at once, at most


def watch(
    name: PlanName,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most; the plan goes on.")] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Follow a plan to its end. The exit code says whether all, some or none of its VMs have been moved."""
    client = connect()
    client.get(path(name))
    with live_view(_progress, _picture) as view:
        events = _events(client, name, after(timeout))
        shown = until(events, lambda: _read(client, name), over, view, at_once="plan.state")
    if shown is None:
        raise CliError(
            Exit.TIMED_OUT, "wait_timed_out", f"plan {name} has not ended within {timeout:g} s", "The plan goes on."
        )
    if form is Output.JSON:
        output.show_json(shown["plan"])
    else:
        output.stdout().print(summary(shown["plan"]))
    if error := outcome(shown["plan"]):
        raise error


def over(shown: Mapping[str, Any]) -> bool:
    """Whether the plan has ended and nothing of it moves, nor is undone."""
    plan = shown["plan"]
    return plan["state"] in ENDED and not any(plan["counts"].get(state) for state in MOVING)


def outcome(plan: Mapping[str, Any]) -> CliError | None:
    """None when all of an ended plan's VMs have been moved; else how many were not."""
    counts = plan["counts"]
    wanted = sum(counts.values()) - counts.get(ItemState.LEFT_OUT, 0)
    moved = counts.get(ItemState.SUCCEEDED, 0)
    if moved == wanted:
        return None
    return CliError(
        Exit.PARTIAL if moved else Exit.FAILED,
        "partly_moved" if moved else "not_moved",
        f"plan {plan['name']} {plan['state']}: {moved} of {wanted} VMs have been moved",
        plan["next_action"],
    )


def _events(client: Client, name: str, deadline: float | None) -> Iterator[dict[str, Any]]:
    """What changes the state of the plan or of one of its jobs: all else that hundreds of jobs say is too much."""
    for event in client.events(f"{path(name)}/events", deadline=deadline):
        kind = event.get("kind", "")
        yield event if kind == "job.state" or kind.startswith("plan.") else {}


def _read(client: Client, name: str) -> dict[str, Any]:
    page = client.get(f"{path(name)}/items", state=sorted(MOVING), limit=SHOWN)
    return {"plan": client.get(path(name)), "moving": page["items"]}


def _progress(shown: Mapping[str, Any]) -> str:
    plan = shown["plan"]
    return "; ".join([f"{plan['state']}: {counted(plan['counts'])}", totals(plan), *plan["needs_human"]])


def _picture(shown: Mapping[str, Any]) -> Iterator[RenderableType]:
    plan = shown["plan"]
    yield Text.assemble((clean(plan["name"]), "bold"), f"  {plan['state']}  {totals(plan)}")
    yield from needs(plan)
    yield _wave_bars(plan["waves"])
    if shown["moving"]:
        yield _item_bars(shown["moving"])


def _wave_bars(waves: list[Mapping[str, Any]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for wave in waves:
        all_of_it = sum(wave["counts"].values()) - wave["counts"].get(ItemState.LEFT_OUT, 0)
        moved = wave["counts"].get(ItemState.SUCCEEDED, 0)
        grid.add_row(
            Text(clean(wave["name"])),
            ProgressBar(total=all_of_it or 1, completed=moved, width=40),
            f"{moved} of {all_of_it}",
            Text(counted(wave["counts"])),
        )
    return grid


def _item_bars(items: list[Mapping[str, Any]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for item in items:
        job = item["job"] or {}
        progress = job.get("progress") or {}
        total = progress.get("bytes_total") or 0
        done = progress.get("bytes_done", 0) + progress.get("bytes_skipped", 0)
        grid.add_row(
            Text(clean(item["vm_name"])),
            ProgressBar(total=total or 1, completed=done, width=40),
            f"{done * 100 // (total or 1)} %",
            Text(clean(job.get("phase") or item["state"])),
            f"{size(done)} of {size(total)}" if total else "",
        )
    return grid
