"""How plans are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.output import clean, duration, size
from app.cli.watch import totals

PlanName = Annotated[str, typer.Argument(metavar="NAME", help="The plan's name or id.")]


def path(name: str) -> str:
    return f"plans/{quote(name, safe='')}"


def at(time: str | None) -> str:
    """A time of the API for people: "2026-12-05 22:00:00"."""
    return (time or "")[:19].replace("T", " ")


def counted(counts: Mapping[str, int]) -> str:
    """ "3 running, 37 waiting": what there is none of is left out."""
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count)


def problem(found: Mapping[str, Any]) -> Text:
    """Where, what, and what to do."""
    style = "bold red" if found["severity"] == "error" else "yellow"
    said = Text.assemble((found["severity"], style), f" {clean(found['place'])}: {clean(found['cause'])}")
    if found["fix"]:
        said.append(f"\n  {clean(found['fix'])}")
    return said


def extent(report: Mapping[str, Any]) -> RenderableType:
    """What would move, wave by wave, and whether the pools have room for it."""
    parts: list[RenderableType] = []
    if report["waves"]:
        parts.append(
            output.table(
                ("WAVE", "VMS", "SIZE", "TIME", "STARTS AT", "ENDS AT", "FITS"),
                (
                    (
                        wave["name"],
                        wave["vms"],
                        size(wave["bytes"]),
                        duration(wave["seconds"]),
                        at(wave["starts_at"]),
                        at(wave["ends_at"]),
                        _yes(wave["fits"]),
                    )
                    for wave in report["waves"]
                ),
            )
        )
    if report["pools"]:
        parts.append(
            output.table(
                ("TARGET", "POOL", "NEEDED", "FREE", "FITS"),
                (
                    (
                        pool["target"],
                        pool["pool"],
                        size(pool["needed_bytes"]),
                        size(pool["free_bytes"]),
                        _yes(pool["fits"]),
                    )
                    for pool in report["pools"]
                ),
            )
        )
    said = f"{report['rows']} rows of a sheet of kind {report['kind']}: {report['vms']} VMs to move"
    parts.append(Text(clean(f"{said}, {size(report['bytes'])}, about {duration(report['seconds'])}")))
    return Group(*parts)


def differences(found: Iterable[Mapping[str, Any]]) -> Table:
    """What an import changes; what it leaves as it is is not shown."""
    return output.table(
        ("CHANGE", "VM", "WHERE", "FIELDS"),
        (
            (
                one["change"],
                one["vm_name"],
                one["place"],
                "; ".join(f"{field}: {old or '-'} → {new or '-'}" for field, (old, new) in one["fields"].items()),
            )
            for one in found
            if one["change"] != "unchanged"
        ),
    )


def summary(plan: Mapping[str, Any]) -> RenderableType:
    """A plan as it is now: for `plan show`, and at the end of `plan watch`."""
    return Group(
        output.fields(
            {
                "plan": plan["name"],
                "state": plan["state"],
                "because": plan["reason"],
                "version": plan["version"],
                "VMs": counted(plan["counts"]),
                "copied": totals(plan),
                "next cutover": at(plan["next_cutover_at"]),
                "next": plan["next_action"],
            }
        ),
        output.table(
            ("WAVE", "STATE", "STARTS AT", "ENDS AT", "GATE", "VMS"),
            (
                (
                    wave["name"],
                    wave["state"].replace("_", " "),
                    at(wave["starts_at"]),
                    at(wave["ends_at"]),
                    wave["gate"].replace("_", " "),
                    counted(wave["counts"]),
                )
                for wave in plan["waves"]
            ),
        ),
        *needs(plan),
    )


def needs(plan: Mapping[str, Any]) -> Iterator[Text]:
    """What somebody has to do."""
    for sentence in plan["needs_human"]:
        yield Text(f"! {clean(sentence)}", style="yellow")


def _yes(fits: bool | None) -> str:
    return "" if fits is None else "yes" if fits else "NO"
