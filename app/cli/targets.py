"""vmferry target: the platforms that VMs arrive on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from app.cli import output
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.cli.sources import CHECK_TIMEOUT_S, report_checks

app = typer.Typer(help="The platforms that VMs arrive on.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The target's name or id.")]
NETWORK_HELP = "VMware network = libvirt network, repeatable; * stands for any VMware network."


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you want to call it.")],
    uri: Annotated[str, typer.Option(help="A libvirt that is local to the worker.")] = "qemu:///system",
    pool: Annotated[str, typer.Option(help="The storage pool for the disks.")] = "default",
    network: Annotated[list[str] | None, typer.Option(help=NETWORK_HELP, metavar="A=B")] = None,
    check: Annotated[bool, typer.Option(help="Check it at once, and wait for the result.")] = True,
    form: OutputOption = Output.TABLE,
) -> None:
    """Register a libvirt host, and check that a move can arrive there."""
    client = connect()
    target = client.post(
        "targets", {"name": name, "kind": "libvirt", "uri": uri, "pool": pool, "networks": pairs(network or [])}
    )
    if check:
        _check(client, target, form)
    elif form is Output.JSON:
        output.show_json(target)
    else:
        output.stdout().print(f"registered {output.clean(name)}", markup=False)


@app.command("list")
def list_targets(form: OutputOption = Output.TABLE) -> None:
    """List what is registered."""
    targets = connect().list("targets")
    output.show(
        form,
        targets,
        ("ID", "NAME", "KIND", "URI", "POOL", "NETWORKS"),
        (
            (
                t["id"],
                t["name"],
                t["kind"],
                t["uri"],
                t["pool"],
                ", ".join(f"{a}={b}" for a, b in t["networks"].items()),
            )
            for t in targets
        ),
    )


@app.command()
def check(name: Name, form: OutputOption = Output.TABLE) -> None:
    """Look whether libvirt answers, the pool can be written, the networks exist and the converter is installed."""
    client = connect()
    _check(client, client.find("targets", name), form)


@app.command()
def remove(name: Name) -> None:
    """Forget it. Nothing changes on the platform itself."""
    client = connect()
    client.delete(f"targets/{client.find('targets', name)['id']}")


def _check(client: Client, target: dict[str, object], form: Output) -> None:
    result = client.operate(f"targets/{target['id']}/check", CHECK_TIMEOUT_S)
    report_checks(f"target {target['name']}", result, form)


def pairs(given: list[str]) -> dict[str, str]:
    """["VM Network=lan"] → {"VM Network": "lan"}; the last "=" splits, for VMware's names may have one."""
    table: dict[str, str] = {}
    for item in given:
        left, separator, right = item.rpartition("=")
        if not (left and separator and right):
            raise CliError(Exit.USAGE, "network_option", f"--network {item!r} is not of the form A=B", NETWORK_HELP)
        table[left] = right
    return table


def _map(networks: Mapping[str, str]) -> str:
    return ", ".join(f"{theirs}={ours}" for theirs, ours in networks.items())
