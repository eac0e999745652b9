"""vmferry token: who may call the service."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.output import Output, OutputOption

app = typer.Typer(help="Who may call the service.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whom or what it is for.")], form: OutputOption = Output.TABLE
) -> None:
    """Make a token. It is shown this once: the service keeps a hash of it only."""
    made = connect().post("tokens", {"name": name})
    if form is Output.JSON:
        output.show_json(made)
    else:
        print(made["token"])


@app.command("list")
def list_tokens(form: OutputOption = Output.TABLE) -> None:
    """List the tokens, without their values."""
    tokens = connect().list("tokens")
    output.show(form, tokens, ("ID", "NAME", "CREATED"), ((t["id"], t["name"], t["created_at"][:19]) for t in tokens))


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name or id.")]) -> None:
    """Make a token worthless at once."""
    client = connect()
    client.delete(f"tokens/{client.find('tokens', name)['id']}")
