"""vmferry target: the platforms that VMs arrive on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.cli.sources import CHECK_TIMEOUT_S, report_checks
from app.domain.networks import GRAMMAR

app = typer.Typer(help="The platforms that VMs arrive on.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The target's name or id.")]
NETWORK_HELP = f"VMware network = {GRAMMAR}; repeatable; * stands for any VMware network."


class Format(StrEnum):
    QCOW2 = "qcow2"
    RAW = "raw"


class Preallocation(StrEnum):
    OFF = "off"
    METADATA = "metadata"
    FALLOC = "falloc"
    FULL = "full"


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you want to call it.")],
    uri: Annotated[str, typer.Option(help="A libvirt that is local to the worker.")] = "qemu:///system",
    pool: Annotated[str, typer.Option(help="The storage pool for the disks.")] = "default",
    format: Annotated[Format, typer.Option(help="Of the disk images.")] = Format.QCOW2,
    cluster_kib: Annotated[
        int | None, typer.Option(help="qcow2's unit of allocation in KiB, 4 to 2048.", show_default="64")
    ] = None,
    preallocation: Annotated[
        Preallocation, typer.Option(help="What is taken from the pool at once; falloc and full: all of it.")
    ] = Preallocation.OFF,
    compressed: Annotated[bool, typer.Option("--compressed", help="Smaller and slower to read; qcow2 only.")] = False,
    discard: Annotated[bool, typer.Option(help="What a guest frees is given back to the storage.")] = True,
    network: Annotated[list[str] | None, typer.Option(help=NETWORK_HELP, metavar="A=B")] = None,
    check: Annotated[bool, typer.Option(help="Check it at once, and wait for the result.")] = True,
    form: OutputOption = Output.TABLE,
) -> None:
    """Register a libvirt host, and check that a move can arrive there."""
    image = {
        "format": format.value,
        "preallocation": preallocation.value,
        "compressed": compressed,
        "discard": discard,
        **({} if cluster_kib is None else {"cluster_kib": cluster_kib}),
    }
    body = {"name": name, "kind": "libvirt", "uri": uri, "pool": pool, "image": image, "networks": pairs(network or [])}
    client = connect()
    target = client.post("targets", body)
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
        ("ID", "NAME", "KIND", "URI", "POOL", "IMAGES", "NETWORKS"),
        (
            (
                t["id"],
                t["name"],
                t["kind"],
                t["uri"],
                t["pool"],
                _image(t["image"]),
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


def pairs(given: list[str], option: str = "--network", help: str = NETWORK_HELP) -> dict[str, str]:
    """["VM Network=lan"] → {"VM Network": "lan"}; the last "=" splits, for VMware's names may have one."""
    table: dict[str, str] = {}
    for item in given:
        left, separator, right = item.rpartition("=")
        if not (left and separator and right):
            raise CliError(Exit.USAGE, f"{option[2:]}_option", f"{option} {item!r} is not of the form A=B", help)
        table[left] = right
    return table


def _image(image: Mapping[str, Any]) -> str:
    """ "qcow2", "raw, falloc, no discard"."""
    words = [image["format"]]
    if image["format"] == "qcow2" and image["cluster_kib"] != 64:
        words.append(f"{image['cluster_kib']} KiB clusters")
    if image["preallocation"] != "off":
        words.append(image["preallocation"])
    if image["compressed"]:
        words.append("compressed")
    return ", ".join(words if image["discard"] else [*words, "no discard"])
