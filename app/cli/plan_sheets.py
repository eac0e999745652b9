"""vmferry plan template|check|import|diff|apply|export: sheets, and the plans that they become."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import files, output, plan_views
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.cli.plan_views import PlanName, path

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
DOCUMENT = ".json"

Sheet = Annotated[Path, typer.Argument(metavar="FILE", help="An .xlsx, .csv or .zip of CSVs; a .json document.")]
Name = Annotated[str, typer.Option("--plan", help="The plan's name.")]
Source = Annotated[str, typer.Option(help="The source of rows that name none.")]
Target = Annotated[str, typer.Option(help="The target of rows that name none.")]
Missing = Annotated[bool, typer.Option("--remove-missing", help="Take VMs out of the plan that the sheet has not.")]
To = Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="Where it is written.")]
Form = Annotated[Output, typer.Option("--output", help="How to print the answer.")]  # -o is the file, here


def template(
    to: To,
    source: Annotated[str, typer.Option(help="The source whose VMs it lists.")],
    target: Annotated[str, typer.Option(help="Where they shall go.")] = "",
    form: Form = Output.TABLE,
) -> None:
    """Write a workbook to fill in: a row for each VM of a source, with drop-down lists of what is there."""
    _save(connect().get_bytes("plans/template", source=source, target=target or None), to, form)


def export(
    name: PlanName,
    to: To,
    form: Form = Output.TABLE,
) -> None:
    """Write a plan as a sheet, .xlsx or .csv, with what became of each VM. It can be imported again."""
    if (kind := to.suffix.lower()) not in (".xlsx", ".csv"):
        raise CliError(Exit.USAGE, "unknown_format", f"{to} ends in neither .xlsx nor .csv", "Name it as one of them.")
    _save(connect().get_bytes(f"{path(name)}/export", format=kind[1:]), to, form)


def check(
    file: Sheet,
    plan: Annotated[str, typer.Option(help="Check it as a change of this plan.")] = "",
    source: Source = "",
    target: Target = "",
    annotated: Annotated[
        Path | None, typer.Option(metavar="OUT.xlsx", help="Write the rows with what is wrong marked in their cells.")
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Say everything that is wrong with a sheet, cell by cell, and what it would move. Nothing is stored."""
    client = connect()
    content = files.read(file)
    report = _send(client, file, content, plan, source=source, target=target, dry_run=True)
    if annotated is not None:
        asked = _asked(file, plan, source=source, target=target, dry_run=True)
        files.write(client.upload("imports", content, accept=XLSX, **asked), annotated)
    _show(report, form)
    _refuse(report, file)


def import_(
    file: Sheet,
    plan: Name,
    source: Source = "",
    target: Target = "",
    form: OutputOption = Output.TABLE,
) -> None:
    """Make a new plan of a sheet. One that exists is changed by `plan apply`."""
    if file.suffix.lower() == DOCUMENT:
        raise CliError(Exit.USAGE, "not_a_sheet", f"{file} is a document", "Use: vmferry plan apply")
    _show(_send(connect(), file, files.read(file), plan, source=source, target=target), form)


def diff(
    file: Sheet,
    plan: Name,
    source: Source = "",
    target: Target = "",
    missing: Missing = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """Say what a sheet would change in a plan. Nothing is stored."""
    client = connect()
    client.get(path(plan))  # a mistyped name would look like a new plan
    report = _send(
        client, file, files.read(file), plan, source=source, target=target, remove_missing=missing, dry_run=True
    )
    if form is Output.JSON:
        output.show_json(report)
    else:
        _problems(report)
        output.stdout().print(plan_views.differences(report["differences"]))
        _say(_counts(report["differences"]))
    _refuse(report, file)


def apply(
    file: Sheet,
    plan: Name,
    source: Source = "",
    target: Target = "",
    missing: Missing = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """Make a plan as a sheet or a document says, or change it so. The same file again changes nothing."""
    content = files.read(file)
    _show(
        _send(connect(), file, content, plan, source=source, target=target, remove_missing=missing, update=True), form
    )


def _send(client: Client, file: Path, content: bytes, plan: str, **asked: Any) -> dict[str, Any]:
    """The service's report on a sheet or a document. Raises CliError with each fault's cell when it refuses it."""
    if file.suffix.lower() == DOCUMENT:
        return _put(client, file, content, plan, **asked)
    report: dict[str, Any] = json.loads(client.upload("imports", content, **_asked(file, plan, **asked)))
    return report


def _put(client: Client, file: Path, content: bytes, plan: str, **asked: Any) -> dict[str, Any]:
    if not plan:
        raise CliError(Exit.USAGE, "no_plan", "a document does not say which plan it is", "Give --plan.")
    try:
        document = json.loads(content)
    except ValueError as error:
        raise CliError(Exit.INVALID, "invalid_json", f"{file} is not valid JSON: {error}") from error
    given = {key: value for key, value in asked.items() if value and key != "update"}  # a PUT always may
    report: dict[str, Any] = client.put(path(plan), document, **given)
    return report


def _asked(file: Path, plan: str, **asked: Any) -> dict[str, Any]:
    return {"filename": file.name, **{key: value for key, value in {"plan": plan, **asked}.items() if value}}


def _save(content: bytes, to: Path, form: Output) -> None:
    files.write(content, to)
    if form is Output.JSON:
        output.show_json({"file": str(to), "bytes": len(content)})
    else:
        _say(f"{to}: {output.size(len(content))}")


def _show(report: Mapping[str, Any], form: Output) -> None:
    if form is Output.JSON:
        output.show_json(report)
        return
    _problems(report)
    output.stdout().print(plan_views.extent(report))
    _say(_counts(report["differences"]))


def _problems(report: Mapping[str, Any]) -> None:
    for problem in report["problems"]:
        output.stdout().print(plan_views.problem(problem), soft_wrap=True)


def _counts(differences: list[Mapping[str, Any]]) -> str:
    counts = Counter(difference["change"] for difference in differences)
    return ", ".join(f"{counts[change]} {change}" for change in ("added", "changed", "unchanged", "locked", "missing"))


def _say(text: str) -> None:
    output.stdout().print(output.clean(text), markup=False, soft_wrap=True)


def _refuse(report: Mapping[str, Any], file: Path) -> None:
    """Raise CliError when there are errors: they are shown already."""
    if errors := sum(problem["severity"] == "error" for problem in report["problems"]):
        raise CliError(
            Exit.INVALID,
            "invalid_sheet",
            f"{file}: {errors} {'error' if errors == 1 else 'errors'}",
            "Correct the cells, then check it again; --annotated OUT.xlsx marks them in the rows.",
        )
