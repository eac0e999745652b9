"""The command `vmferry`: every group of commands, and where errors become exit codes.

Commands talk to the service's API. Those that are a composition root themselves (up, serve, worker, doctor, db, image)
load what they need only when they are called.
"""

from __future__ import annotations

import sys

import typer

from app.cli import (
    db,
    doctor,
    image,
    inventory,
    jobs,
    limits,
    migrate,
    output,
    plans,
    service,
    sources,
    targets,
    tokens,
)
from app.cli.exits import CliError, from_error
from app.domain.errors import VmferryError

app = typer.Typer(
    name="vmferry",
    help="Moves virtual machines from VMware vSphere to KVM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(service.up)
app.command()(service.serve)
app.command()(service.worker)
app.command()(doctor.doctor)
app.add_typer(sources.app, name="source")
app.add_typer(targets.app, name="target")
app.command()(inventory.inventory)
app.command()(migrate.migrate)
app.add_typer(jobs.app, name="job")
app.add_typer(plans.app, name="plan")
app.add_typer(limits.app, name="limit")
app.add_typer(image.app, name="image")
app.add_typer(tokens.app, name="token")
app.add_typer(db.app, name="db")


def main() -> None:
    try:
        app()
    except CliError as error:
        output.show_error(error)
        sys.exit(error.exit_code)
    except VmferryError as error:
        known = from_error(error)
        output.show_error(known)
        sys.exit(known.exit_code)
