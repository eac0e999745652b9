"""vmferry inventory: what a source has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import assessments, output
from app.cli.assessments import Verdict
from app.cli.client import Client, connect
from app.cli.output import Output, OutputOption

REFRESH_TIMEOUT_S = 600.0


def inventory(
    source: Annotated[str, typer.Argument(help="The source's name or id.")],
    assess: Annotated[bool, typer.Option("--assess", help="Say how each would move, and what is in its way.")] = False,
    target: Annotated[str, typer.Option(help="Where to, for --assess; may be left out when there is one only.")] = "",
    verdict: Annotated[Verdict | None, typer.Option(help="Only those, of --assess.", case_sensitive=False)] = None,
    concern: Annotated[str, typer.Option(help="Only those with this concern, of --assess.", metavar="CODE")] = "",
    refresh: Annotated[bool, typer.Option("--refresh", help="Read it from the source again first.")] = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """List the VMs of a source, as they were when its inventory was last read; the first time it is read now."""
    if not assess and (target or verdict or concern):
        raise typer.BadParameter("--target, --verdict and --concern are of --assess: add it.")
    client = connect()
    found = client.find("sources", source)
    read_once(client, found, again=refresh)
    if assess:
        assessments.show(client, form, source=found["id"], target=target, verdict=verdict, concern=concern)
        return
    vms = client.list("inventory/vms", source=found["id"])
    output.show(
        form,
        vms,
        ("ID", "NAME", "POWER", "GUEST", "DISKS", "SIZE", "NETWORKS", "TOOLS"),
        (
            (
                vm["id"],
                vm["name"],
                vm["power_state"],
                vm["guest_name"] or vm["guest_id"],
                len(vm["disks"]),
                output.size(sum(disk["capacity_bytes"] for disk in vm["disks"])),
                ", ".join(sorted({nic["network"] for nic in vm["nics"]})),
                vm["tools"].replace("_", " "),
            )
            for vm in vms
        ),
    )


def read_once(client: Client, source: Mapping[str, Any], *, again: bool = False) -> None:
    """Read a source's inventory where the service has none yet, or `again`."""
    if again or not source["refreshed_at"]:
        client.operate(f"sources/{source['id']}/refresh", REFRESH_TIMEOUT_S)
