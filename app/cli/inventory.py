"""vmferry inventory: what a source has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Client, connect
from app.cli.output import Output, OutputOption

REFRESH_TIMEOUT_S = 600.0


def inventory(
    source: Annotated[str, typer.Argument(help="The source's name or id.")],
    assess: Annotated[bool, typer.Option("--assess", help="Say how each would move, and what is in its way.")] = False,
    target: Annotated[str, typer.Option(help="Where to, for --assess; may be left out when there is one only.")] = "",
    refresh: Annotated[bool, typer.Option("--refresh", help="Read it from the source again first.")] = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """List the VMs of a source, as they were when its inventory was last read; the first time it is read now."""
    client = connect()
    found = client.find("sources", source)
    read_once(client, found, again=refresh)
    if assess:
        _show_assessments(client.list("inventory/assessments", source=found["id"], target=target, limit=500), form)
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


def _show_assessments(found: list[dict[str, Any]], form: Output) -> None:
    output.show(
        form,
        found,
        ("NAME", "VERDICT", "CONVERTER", "CPUS", "MEMORY", "DISKS", "CARDS", "SIZE", "TIME", "CONCERNS"),
        (
            (
                item["vm"]["name"],
                item["verdict"].replace("_", " "),
                item["converter"] or "yours to choose",
                item["hardware"]["cpus"],
                output.size(item["hardware"]["memory_bytes"]),
                item["hardware"]["disk_bus"],
                item["hardware"]["nic_model"],
                output.size(item["disk_bytes"]),
                output.duration(item["seconds"]),
                ", ".join(sorted({concern["code"] for concern in item["concerns"]})),
            )
            for item in found
        ),
    )
    if form is Output.TABLE:
        counts = Counter(item["verdict"] for item in found)
        said = (f"{counts[verdict]} {verdict.replace('_', ' ')}" for verdict in ("ready", "with_warnings", "blocked"))
        output.stdout().print(f"{len(found)} VMs: {', '.join(said)}", markup=False)


def read_once(client: Client, source: Mapping[str, Any], *, again: bool = False) -> None:
    """Read a source's inventory where the service has none yet, or `again`."""
    if again or not source["refreshed_at"]:
        client.operate(f"sources/{source['id']}/refresh", REFRESH_TIMEOUT_S)
