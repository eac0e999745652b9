"""vmferry limit: how fast bytes may be read, for all jobs together, of one source, or of one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.cli.rates import RATE_HELP, WINDOW_HELP, ZONE_HELP, parse_limit
from app.domain.limits import Limit, limit_text, rate_text

app = typer.Typer(help="How fast bytes may be read; a change acts at once.", no_args_is_help=True)

Source = Annotated[str, typer.Option(help="For the jobs of this source together: its name or id.")]
Job = Annotated[str, typer.Option(help="For this job.")]


@app.command("list")
def list_limits(form: OutputOption = Output.TABLE) -> None:
    """List what is set, and what it allows now."""
    limits = connect().list("limits")
    output.show(
        form,
        limits,
        ("FOR", "NAME", "NOW", "LIMIT"),
        ((_what(item), _name(item), rate_text(item["rate_now"]), _text(item)) for item in limits),
    )


@app.command("set")
def set_limit(
    rate: Annotated[str, typer.Argument(help=RATE_HELP)],
    source: Source = "",
    job: Job = "",
    window: Annotated[list[str] | None, typer.Option(help=WINDOW_HELP)] = None,
    zone: Annotated[str, typer.Option(help=ZONE_HELP)] = "",
    form: OutputOption = Output.TABLE,
) -> None:
    """Set a limit for all jobs together, or for one source or job; it replaces the one that was there."""
    body = parse_limit(rate, window or (), zone)
    client = connect()
    answer = client.put(_path(client, source, job), body)
    if form is Output.JSON:
        output.show_json(answer)
    else:
        line = f"{_what(answer)} {_name(answer)}".strip() + f": {_text(answer)}"
        output.stdout().print(output.clean(line), markup=False)


@app.command()
def clear(source: Source = "", job: Job = "") -> None:
    """Remove the limit for all jobs together, or for one source or job."""
    client = connect()
    client.delete(_path(client, source, job))


def _path(client: Client, source: str, job: str) -> str:
    if source and job:
        raise CliError(Exit.USAGE, "limit_subject", "--source and --job exclude each other")
    if source:
        return f"limits/sources/{client.find('sources', source)['id']}"
    return f"limits/jobs/{job}" if job else "limits/service"


def _what(item: Mapping[str, Any]) -> str:
    return f"job {item['subject']}" if item["scope"] == "job" else str(item["scope"])


def _name(item: Mapping[str, Any]) -> str:
    return str((item["source"] or item["job"] or {}).get("name", ""))


def _text(item: Mapping[str, Any]) -> str:
    return limit_text(Limit.model_validate({name: item[name] for name in Limit.model_fields}))
