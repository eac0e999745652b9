"""How a boot is shown."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from app.cli.boot import boot_tables
from app.domain.boot import Boot, climb, marked
from app.domain.contract import compare
from app.domain.models import GuestFacts


def shown(boot: Boot) -> list[str]:
    console = Console(file=StringIO(), width=160)
    for table in boot_tables(boot.to_dict()):
        console.print(table)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_ladder_with_what_was_seen() -> None:
    boot = climb(Boot(), {"kernel": "serial: Linux version 6"}, 12.3, "console-kernel.png")
    lines = shown(marked(boot, "userland", "failed", seconds=20.0, detail="it says: Kernel panic"))
    assert lines[0] == "BOOT AFTER SEEN BY PICTURE"
    assert "✓ firmware 12 s implied by kernel console-kernel.png" in lines
    assert "✓ kernel 12 s serial: Linux version 6 console-kernel.png" in lines
    assert "✗ userland 20 s it says: Kernel panic" in lines
    assert "· seen" in lines
    assert len(lines) == 9


def test_a_contract() -> None:
    before = GuestFacts(hostname="web01", services=tuple(f"s{n}.service" for n in range(5)), kernel="6.1\x1b[31m")
    after = GuestFacts(hostname="localhost", services=before.services)
    lines = shown(Boot(contract=compare(before, after)))
    assert "hostname changed web01 localhost -web01, +localhost" in lines
    both = "s0.service, s1.service, s2.service and 2 more"
    assert f"services same {both} {both}" in lines
    assert any(line.startswith("kernel not seen 6.1") and "\x1b" not in line for line in lines)
    assert "dns not seen ? ? not read before and after the move" in lines
