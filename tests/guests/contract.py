"""What a guest was before its move and what it is after it, both in its own words: as a job compares them, and more."""

from __future__ import annotations

from typing import Any

from app.domain.contract import compare
from app.domain.guest_facts import of_report

MORE = ("macs", "mounts", "checksums")  # macs by the names of the cards, mounts with what is on them
OF_THE_CARDS = ("addresses", "macs", "routes", "dns")  # unconverted, a guest has other cards, which it does not set up


def differences(before: dict[str, Any], after: dict[str, Any], *, converted: bool = True) -> list[str]:
    """Each thing that is not as it was, or was not read on both sides, as "what: before → after".

    What belongs to VMware's tools may go, and virt-v2v's own service may come. The disks are compared in the order in
    which they are plugged, by what is on them.
    """
    found = [f"{key}: {before[key]} → {after[key]}" for key in MORE if before[key] != after[key]]
    found += _of_the_contract(before, after)
    found = [line for line in found if converted or line.partition(":")[0] not in OF_THE_CARDS]
    old, new = ([disk["holds"] for disk in report["disks"]] for report in (before, after))
    if old != new:
        found.append(f"order of the disks: {old} → {new}")
    drivers = {disk["driver"] for disk in after["disks"]}
    if drivers != ({"virtio_blk"} if converted else {"ahci"}):
        found.append(f"drivers of the disks: {sorted(drivers)}")
    return found


def _of_the_contract(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{finding.field}: {_words(finding.before)} → {_words(finding.after)}"
        for finding in compare(of_report(before), of_report(after)).findings
        if finding.field not in MORE and finding.verdict not in ("same", "expected")
    ]


def _words(value: tuple[str, ...] | None) -> str:
    return "not read" if value is None else ", ".join(value) or "none"
