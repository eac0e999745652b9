"""vmferry inventory SOURCE --assess: how each VM would move, and what that amounts to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from app.cli import output
from app.cli.client import Client
from app.cli.output import Output

PAGE = 500  # the most that a page has: it costs the service no more than many small ones
COLUMNS = ("NAME", "VERDICT", "WAY", "CPUS", "MEMORY", "FIRMWARE", "DISKS", "CARDS", "SIZE", "TIME", "CONCERNS")


class Verdict(StrEnum):
    READY = "ready"
    WITH_WARNINGS = "with_warnings"
    BLOCKED = "blocked"


def show(client: Client, form: Output, *, source: str, target: str, verdict: Verdict | None, concern: str) -> None:
    wanted = {"verdict": verdict.value} if verdict else {}
    found = client.list("inventory/assessments", source=source, target=target, concern=concern, limit=PAGE, **wanted)
    output.show(form, found, COLUMNS, map(_row, found))
    if form is Output.TABLE:
        for line in summary(found):
            output.stdout().print(output.clean(line), markup=False)


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    hardware = item["hardware"]
    extras = [name for name, there in (("secure boot", hardware["secure_boot"]), ("tpm", hardware["tpm"])) if there]
    return (
        item["vm"]["name"],
        item["verdict"].replace("_", " "),
        f"{item['transport']}, {item['converter'] or 'yours to choose'}",
        hardware["cpus"],
        output.size(hardware["memory_bytes"]),
        ", ".join([hardware["firmware"], *extras]),
        f"{hardware['disks']} {hardware['disk_bus']}".strip(),
        f"{hardware['nics']} {hardware['nic_model']}".strip(),
        output.size(item["disk_bytes"]),
        output.duration(item["seconds"]),
        ", ".join(dict.fromkeys(concern["code"] for concern in item["concerns"])),  # blockers first
    )


def summary(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How many, how large and how long; what the time stands on; which concerns how often, the frequent ones first."""
    counts = Counter(item["verdict"] for item in found)
    said = ", ".join(f"{counts[verdict]} {verdict.value.replace('_', ' ')}" for verdict in Verdict)
    yield f"{len(found)} VMs, {output.size(sum(item['disk_bytes'] for item in found))}: {said}"
    if movable := [item for item in found if item["verdict"] != Verdict.BLOCKED]:
        hours = sum(item["seconds"] for item in movable) / 3600
        size = output.size(sum(item["disk_bytes"] for item in movable))
        yield f"Not blocked: {size}, about {hours:.1f} hours one after the other, {_stands_on(movable[0]['pace'])}"
    for severity in ("blocker", "warning"):
        codes = Counter(
            code for item in found for code in {c["code"] for c in item["concerns"] if c["severity"] == severity}
        )
        if codes:
            yield f"{severity.capitalize()}s: {', '.join(f'{code} {count}' for code, count in codes.most_common())}"


def _stands_on(pace: dict[str, Any]) -> str:
    rates = f"{output.size(pace['bytes_a_second'])}/s, and {output.duration(pace['rest_s'])} for each beside the copy"
    if not pace["moves"]:
        return f"assuming {rates}: none was moved to this target yet"
    return f"as the last {pace['moves']} that were moved to this target: {rates}"
