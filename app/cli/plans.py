"""vmferry plan: many VMs, in waves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import typer

from app.cli import output, plan_sheets, plan_watch
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption, size
from app.cli.plan_views import PlanName, counted, path, summary
from app.domain.plan import ItemState

app = typer.Typer(help="Many VMs, in waves, from a sheet.", no_args_is_help=True)
app.command()(plan_sheets.template)
app.command()(plan_sheets.check)
app.command("import")(plan_sheets.import_)
app.command()(plan_sheets.diff)
app.command()(plan_sheets.apply)
app.command()(plan_sheets.export)
app.command()(plan_watch.watch)

Only = Annotated[list[str] | None, typer.Option("--vm", metavar="VM", help="Only this one, by name or id; repeatable.")]


@app.command("list")
def list_plans(form: OutputOption = Output.TABLE) -> None:
    """List plans, and what became of their VMs."""
    plans = connect().list("plans")
    output.show(
        form,
        plans,
        ("NAME", "STATE", "VMS", "SIZE", "NEXT"),
        (
            (plan["name"], plan["state"], counted(plan["counts"]), size(plan["bytes_total"]), plan["next_action"])
            for plan in plans
        ),
    )


@app.command()
def show(name: PlanName, form: OutputOption = Output.TABLE) -> None:
    """Show one plan: its waves, how far they are, and who has to do what."""
    _show(connect().get(path(name)), form)


@app.command()
def items(
    name: PlanName,
    wave: Annotated[str | None, typer.Option(help="Only those of this wave.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    text: Annotated[str | None, typer.Option(help="Only those in whose row this stands.")] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """List the VMs of a plan, and what became of each."""
    found = connect().list(f"{path(name)}/items", wave=wave, state=state, text=text)
    output.show(
        form,
        found,
        ("VM", "WAVE", "SOURCE", "TARGET", "SIZE", "STATE", "PHASE", "JOB", "NEXT"),
        (
            (
                item["vm_name"],
                item["wave"],
                item["source"],
                item["target"],
                size(item["bytes"]),
                item["state"].replace("_", " "),
                (item["job"] or {}).get("phase"),
                (item["job"] or {}).get("id"),
                item["next_action"],
            )
            for item in found
        ),
    )


@app.command()
def start(
    name: PlanName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would start now, and do nothing.")] = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """Let a plan run: wave by wave, at their times, as their gates and limits allow."""
    answer = connect().post(f"{path(name)}/start", dry_run=dry_run or None)
    _show(answer, form)
    if dry_run and form is Output.TABLE:
        names = ", ".join(item["name"] for item in answer["would_start"]) or "nothing"
        output.stdout().print(f"would start now: {output.clean(names)}", markup=False, soft_wrap=True)


@app.command()
def pause(name: PlanName, form: OutputOption = Output.TABLE) -> None:
    """Start nothing new. What moves goes on to its end."""
    _ask(name, "pause", {}, form)


@app.command()
def resume(name: PlanName, form: OutputOption = Output.TABLE) -> None:
    """Let a paused plan go on."""
    _ask(name, "resume", {}, form)


@app.command()
def cancel(name: PlanName, form: OutputOption = Output.TABLE) -> None:
    """Stop what moves and undo it, and start nothing more. What has been moved stays."""
    _ask(name, "cancel", {}, form)


@app.command()
def retry(name: PlanName, vm: Only = None, form: OutputOption = Output.TABLE) -> None:
    """Try again what failed or was cancelled, and let the plan run."""
    client = connect()
    _show(client.post(f"{path(name)}/retry", _only(client, name, vm)), form)


@app.command()
def rollback(
    name: PlanName,
    wave: Annotated[str, typer.Option(help="Only this wave.")] = "",
    vm: Only = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """Undo what has ended: the targets' VMs are removed, and the sources run again as they did."""
    client = connect()
    body = {**({"wave": wave} if wave else {}), **_only(client, name, vm)}
    lost = _moved(client, name, wave, body.get("items", ()))
    if lost and not yes:
        typer.confirm(
            f"{lost} of these VMs have been moved. Everything that was written on their targets since will be lost. "
            "Roll back?",
            abort=True,
            err=True,
        )
    _show(client.post(f"{path(name)}/rollback", {**body, "confirm_data_loss": yes or lost > 0}), form)


@app.command()
def approve(
    name: PlanName,
    wave: Annotated[str, typer.Argument(help="The wave behind the gate.")],
    form: OutputOption = Output.TABLE,
) -> None:
    """Open the gate before a wave."""
    _ask(name, "approve", {"wave": wave}, form)


@app.command()
def remove(name: PlanName) -> None:
    """Forget a plan of which nothing moves. What has been moved stays, and so do its jobs."""
    connect().delete(path(name))


def _ask(name: str, verb: str, body: Mapping[str, Any], form: Output) -> None:
    _show(connect().post(f"{path(name)}/{verb}", body), form)


def _show(plan: Mapping[str, Any], form: Output) -> None:
    if form is Output.JSON:
        output.show_json(plan)
    else:
        output.stdout().print(summary(plan))


def _moved(client: Client, name: str, wave: str, keys: Collection[str]) -> int:
    """How many of a wave, or of some items and their groups, have been moved."""
    items = client.list(f"{path(name)}/items", wave=wave or None)
    groups = {item["group"] for item in items if item["key"] in keys} - {""}
    meant = (item for item in items if not keys or item["key"] in keys or item["group"] in groups)
    return sum(item["state"] == ItemState.SUCCEEDED for item in meant)


def _only(client: Client, name: str, wanted: list[str] | None) -> dict[str, list[str]]:
    """The keys of the items that somebody named. Raises CliError for one that is not there, or twice."""
    if not wanted:
        return {}
    items = client.list(f"{path(name)}/items")
    return {"items": [_key(items, reference) for reference in wanted]}


def _key(items: list[dict[str, Any]], reference: str) -> str:
    for field in ("key", "vm_id", "vm_uuid", "vm_name"):
        found = [item["key"] for item in items if item[field] == reference]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise CliError(
                Exit.CONFLICT,
                "ambiguous",
                f"{len(found)} VMs of the plan are called {reference!r}",
                f"Give the key: {', '.join(found)}",
            )
    raise CliError(
        Exit.NOT_FOUND, "not_found", f"no {reference!r} among the plan's VMs", "See them with: vmferry plan items NAME"
    )
