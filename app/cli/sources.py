"""vmferry source: the platforms and files that VMs leave."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Client, connect
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.cli.passwords import PASSWORD_VARIABLE, read_password
from app.domain.models import FILE_KINDS

CHECK_TIMEOUT_S = 120.0
TRUST_HINT = (
    "If you trust it: vmferry source remove NAME, then add it again with --ca-file, or with --thumbprint once you have "
    "compared what was seen with what the server itself shows."
)

app = typer.Typer(help="The platforms and files that VMs leave.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The source's name or id.")]


class Kind(StrEnum):
    VCENTER = "vcenter"
    ESXI = "esxi"
    OVA = "ova"
    VMX = "vmx"


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you want to call it.")],
    host: Annotated[
        str,
        typer.Argument(
            help="Name or address, with :PORT unless it is 443. "
            "Of ova, vmx: a path on the worker's machine; of ova a URL, too."
        ),
    ],
    username: Annotated[
        str, typer.Option("--username", "-u", help="For example vmferry@vsphere.local; local files need none.")
    ] = "",
    kind: Annotated[Kind, typer.Option(help="What is there.")] = Kind.VCENTER,
    password_file: Annotated[
        Path | None,
        typer.Option(help=f"Its first line is the password; - is standard input. Or set {PASSWORD_VARIABLE}."),
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Trust certificates signed by this CA (PEM).")] = None,
    thumbprint: Annotated[str, typer.Option(help="Trust only the certificate with this SHA-256 or SHA-1.")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate. Anyone can listen.")] = False,
    check: Annotated[bool, typer.Option(help="Check it at once, and wait for the result.")] = True,
    form: OutputOption = Output.TABLE,
) -> None:
    """Register a vCenter, an ESXi host or VMs in files (ova, vmx), and check that a move can work from there."""
    if sum((ca_file is not None, bool(thumbprint), insecure)) > 1:
        raise CliError(Exit.USAGE, "tls_options", "--ca-file, --thumbprint and --insecure exclude each other")
    if kind not in FILE_KINDS and not username:
        raise CliError(Exit.USAGE, "no_username", f"a {kind.value} needs a login", "Give --username.")
    if not username and password_file is not None:
        raise CliError(Exit.USAGE, "no_username", "a password needs a username", "Give --username, too.")
    if username and host.startswith("/"):
        raise CliError(Exit.USAGE, "local_login", "files on the worker's machine need no login")
    body = {
        "name": name,
        "kind": kind.value,
        "host": host,
        "username": username,
        "tls": {"ca_pem": _read_pem(ca_file), "thumbprint": thumbprint, "insecure": insecure},
        "password": read_password(password_file, f"Password of {username} on {host}") if username else "",
    }
    client = connect()
    source = client.post("sources", body)
    if check:
        _check(client, source, form)
    elif form is Output.JSON:
        output.show_json(source)
    else:
        output.stdout().print(f"registered {output.clean(name)}", markup=False)


@app.command("list")
def list_sources(form: OutputOption = Output.TABLE) -> None:
    """List what is registered."""
    sources = connect().list("sources")
    output.show(
        form,
        sources,
        ("ID", "NAME", "KIND", "HOST", "USERNAME", "TLS"),
        ((s["id"], s["name"], s["kind"], s["host"], s["username"], _trust(s)) for s in sources),
    )


@app.command()
def check(name: Name, form: OutputOption = Output.TABLE) -> None:
    """Look whether it can be reached and trusted, and whether each needed privilege is there."""
    client = connect()
    _check(client, client.find("sources", name), form)


@app.command()
def remove(name: Name) -> None:
    """Forget it, with its password. Nothing changes on the platform itself."""
    client = connect()
    client.delete(f"sources/{client.find('sources', name)['id']}")


def _check(client: Client, source: dict[str, Any], form: Output) -> None:
    result = client.operate(f"sources/{source['id']}/check", CHECK_TIMEOUT_S)
    report_checks(f"source {source['name']}", result, form, {"certificate": TRUST_HINT})


def report_checks(what: str, result: dict[str, Any], form: Output, hints: Mapping[str, str] | None = None) -> None:
    """Print the rows of a check; one that failed ends the command, with a hint of ours or the row's own remedy."""
    rows = result["checks"]
    if form is Output.JSON:
        output.show_json(result)
    else:
        output.stdout().print(output.checks(rows))
    if failed := [row for row in rows if not row["ok"]]:
        raise CliError(
            Exit.INVALID,
            "check_failed",
            f"{what}: {len(failed)} of {len(rows)} checks failed: {', '.join(row['name'] for row in failed)}",
            (hints or {}).get(failed[0]["name"], failed[0]["remedy"]),
        )


def _read_pem(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(Exit.USAGE, "unreadable_file", f"{file} could not be read: {error}") from error


def _trust(source: dict[str, Any]) -> str:
    tls = source["tls"]
    if source["kind"] in FILE_KINDS and not source["host"].startswith("https:"):
        return ""
    if tls.get("insecure"):
        return "insecure"
    if tls.get("thumbprint"):
        return "pinned"
    return "own CA" if tls.get("ca_pem") else "system CAs"
