"""vmferry inventory: what a source has."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import output
from app.cli.client import connect
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
    if refresh or not found.get("refreshed_at"):
        client.operate(f"sources/{found['id']}/refresh", REFRESH_TIMEOUT_S)
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
