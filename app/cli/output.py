"""What commands print: tables for people, JSON for programs, errors on stderr.

Names come from other people's vCenters: control characters are shown as escapes and nothing is taken as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.exits import CliError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_NO_WRAP = 1 << 14  # columns of an output that is no terminal


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")]


def stdout() -> Console:
    return _console(stderr=False)


def stderr() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _NO_WRAP)


def clean(value: object) -> str:
    """One line of printable text: anything else is shown as a Python escape."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size(count: float) -> str:
    """Bytes for people: 1536 → "1.5 KiB"."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds for people: 75 → "1:15", 4000 → "1:06:40"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    built = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        built.add_column(column, overflow="fold")
    for row in rows:
        built.add_row(*(Text(clean(cell)) for cell in row))
    return built


def show(output: Output, data: Any, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A list: `data` as it is for JSON, else one line for each row."""
    if output is Output.JSON:
        show_json(data)
    else:
        stdout().print(table(columns, rows))


def show_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"))


def fields(pairs: Mapping[str, object]) -> Table:
    """One thing: a line for each of its fields that has a value."""
    built = Table(box=None, pad_edge=False, show_header=False)
    built.add_column(style="bold")
    built.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, ""):
            built.add_row(name, Text(clean(value)))
    return built


def checks(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows of a check, each with what to do about it where it failed."""
    return table(
        ("", "CHECK", "FOUND", "REMEDY"),
        (("ok" if row["ok"] else "FAILED", row["name"], row["detail"], row.get("remedy", "")) for row in rows),
    )


def concerns(rows: Iterable[Mapping[str, Any]]) -> Table:
    return table(
        ("SEVERITY", "CONCERN", "CAUSE", "REMEDY"),
        ((row["severity"], row["code"], row["cause"], row["remedy"]) for row in rows),
    )


def show_error(error: CliError) -> None:
    """Code, cause, details and hint on stderr."""
    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), clean(error.cause), (f" [{clean(error.code)}]", "dim")))
    for detail in error.details:
        if detail.get("detail") == error.cause:
            continue  # a single fault is told already
        where = detail.get("cell") or detail.get("pointer") or detail.get("what") or ""
        said = ": ".join(clean(part) for part in (where, detail.get("detail") or detail.get("cause")) if part)
        console.print(Text(f"  - {said}"))
        if remedy := detail.get("hint") or detail.get("command"):
            console.print(Text(f"    {clean(remedy)}"))
    if error.hint:
        console.print(Text.assemble(("hint: ", "bold"), clean(error.hint)))
