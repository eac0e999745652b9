"""How a guest came up, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType

from app.cli import output

FEW = 3

_MARKS = {"reached": "✓", "skipped": "-", "failed": "✗", "not_seen": "·"}


def boot_tables(boot: Mapping[str, Any]) -> Iterator[RenderableType]:
    """How far the guest got, and how it is against how it was."""
    yield output.table(
        ("", "BOOT", "AFTER", "SEEN BY", "PICTURE"),
        ((_MARKS[r["state"]], r["name"], _after(r["seconds"]), r["detail"] or "", r["picture"]) for r in boot["rungs"]),
    )
    if contract := boot.get("contract"):
        yield output.table(
            ("GUEST", "VERDICT", "BEFORE", "AFTER", ""),
            (
                (f["field"], f["verdict"].replace("_", " "), _few(f["before"]), _few(f["after"]), f["detail"])
                for f in contract["findings"]
            ),
        )


def _after(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def _few(words: list[str] | None) -> str:
    """Enough to know what is meant; all of it is in the JSON."""
    if words is None:
        return "?"
    return ", ".join(words) if len(words) <= FEW else f"{', '.join(words[:FEW])} and {len(words) - FEW} more"
