"""vmferry inventory: what a source has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Client, connect
from app.cli.output import Output, OutputOption

REFRESH_TIMEOUT_S = 600.0


def inventory(
    source: Annotated[str, typer.Argument(help="The source's name or id.")],
    refresh: Annotated[bool, typer.Option("--refresh", help="Read it from the source again first.")] = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """List the VMs of a source, as they were when its inventory was last read; the first time it is read now."""
    client = connect()
    found = client.find("sources", source)
    read_once(client, found, again=refresh)
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
