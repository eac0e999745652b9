"""vmferry migrate: move one VM."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.exits import CliError, Exit
from app.cli.inventory import read_once
from app.cli.output import Output, OutputOption
from app.cli.passwords import LUKS_HELP, read_disk_keys
from app.cli.rates import RATE_HELP, parse_limit
from app.cli.targets import NETWORK_HELP, Format, pairs
from app.cli.watch import watch
from app.domain.hostdevs import GRAMMAR
from app.domain.models import Transport
from app.domain.move import ConverterName, OnFailure, Profile, Strategy

HOSTDEV_HELP = f"A device of its host = {GRAMMAR}; repeatable."


class BootNetwork(StrEnum):
    ISOLATED = "isolated"
    REAL = "real"


class SecondRead(StrEnum):
    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"


def migrate(
    source: Annotated[str, typer.Argument(help="The source's name or id.")],
    vm: Annotated[str, typer.Argument(help="The VM's name or id.")],
    target: Annotated[str, typer.Option(help="The target; may be left out when there is one only.")] = "",
    target_name: Annotated[str, typer.Option(help="The name it shall have there.")] = "",
    pool: Annotated[str, typer.Option(help="A pool of the target; unless given, the target's own.")] = "",
    image_format: Annotated[
        Format | None, typer.Option("--format", help="Of its disks; unless given, the target's own.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="How many; unless given, as many as it has.", min=1)] = None,
    memory_mib: Annotated[int | None, typer.Option(help="In MiB; unless given, what it has.", min=4)] = None,
    strategy: Annotated[Strategy, typer.Option(help="disk_only: neither converted nor booted.")] = Strategy.COLD,
    on_failure: Annotated[
        OnFailure, typer.Option(help="rollback: the source runs again as it did. hold: the copy is kept for a retry.")
    ] = OnFailure.ROLLBACK,
    network: Annotated[list[str] | None, typer.Option(help=NETWORK_HELP, metavar="A=B")] = None,
    power_on: Annotated[
        bool | None, typer.Option("--power-on/--no-power-on", help="Instead of as the source was.", show_default=False)
    ] = None,
    force_power_off: Annotated[
        bool, typer.Option("--force-power-off", help="Pull the plug where Tools cannot shut the guest down.")
    ] = False,
    leave_tpm: Annotated[
        bool, typer.Option("--leave-tpm", help="Nothing needs the keys in its virtual TPM: they stay behind.")
    ] = False,
    transport: Annotated[
        Transport | None, typer.Option(help="The way the bytes come; unless given, the best that works.")
    ] = None,
    converter: Annotated[
        ConverterName | None, typer.Option(help="Who changes the guest; unless given, the best for it, never compat.")
    ] = None,
    hostdev: Annotated[list[str] | None, typer.Option(help=HOSTDEV_HELP, metavar="LABEL=DEVICE")] = None,
    profile: Annotated[
        Profile, typer.Option(help="latency: CPUs and memory of its own. density: what it leaves unused is for others.")
    ] = Profile.BALANCED,
    second_read: Annotated[
        SecondRead, typer.Option(help="Read the source again over another connection, and compare.")
    ] = SecondRead.NONE,
    boot_network: Annotated[
        BootNetwork, typer.Option(help="Where the guest is until its boot check has passed.")
    ] = BootNetwork.ISOLATED,
    boot_port: Annotated[
        int | None, typer.Option(help="A TCP port that has to answer when all is done.", min=1, max=65535)
    ] = None,
    luks_key: Annotated[list[str] | None, typer.Option(help=LUKS_HELP, metavar="DEVICE[=FILE]")] = None,
    limit: Annotated[str, typer.Option(help=f"Its own limit. {RATE_HELP}")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most; the job goes on.")] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Move one VM to a libvirt host: the source is shut down, its disks are copied, verified and converted."""
    client = connect()
    read_once(client, client.find("sources", source))
    body = {
        "source": source,
        "vm": vm,
        "target": target,
        "options": {
            "strategy": strategy.value,
            "on_failure": on_failure.value,
            "target_name": target_name,
            "pool": pool,
            "format": image_format.value if image_format else "",
            "cpus": cpus,
            "memory_bytes": None if memory_mib is None else memory_mib << 20,
            "networks": pairs(network or []),
            "power_on": power_on,
            "force_power_off": force_power_off,
            "leave_tpm": leave_tpm,
            "transport": transport and transport.value,
            "converter": converter and converter.value,
            "hostdevs": pairs(hostdev or [], "--hostdev", HOSTDEV_HELP),
            "profile": profile.value,
            "second_read": second_read.value,
            "boot_network": boot_network.value,
            "boot_port": boot_port,
        },
        "limit": parse_limit(limit) if limit else None,
        "luks_keys": read_disk_keys(luks_key or []),
    }
    if dry_run:
        _show_dry_run(client.post("jobs", body, dry_run=True), form)
        return
    job = client.post("jobs", body)
    if wait:
        watch(client, job["id"], timeout, form)
    elif form is Output.JSON:
        output.show_json(job)
    else:
        output.stdout().print(f"{job['id']}\nfollow it with: vmferry job watch {job['id']}", markup=False)


def _show_dry_run(answer: dict[str, Any], form: Output) -> None:
    """Everything that would happen; a blocker ends the command with its own exit code."""
    concerns = answer["concerns"]
    if form is Output.JSON:
        output.show_json(answer)
    else:
        console = output.stdout()
        console.print(
            output.fields({"steps": " → ".join(answer["steps"]), "bytes": output.size(answer["bytes_total"])})
        )
        console.print(answer["domain_xml"], markup=False)
        if concerns:
            console.print(output.concerns(concerns))
    if blockers := [concern for concern in concerns if concern["severity"] == "blocker"]:
        raise CliError(
            Exit.INVALID,
            "preflight_failed",
            "; ".join(concern["cause"] for concern in blockers),
            " ".join(concern["remedy"] for concern in blockers),
        )
