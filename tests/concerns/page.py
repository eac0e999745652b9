"""docs/concerns.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.domain.models import Concern
from tests.concerns.entry import OnGuest
from tests.concerns.raised import Raised
from tests.service import ROOT

PAGE = ROOT / "docs" / "concerns.md"
HEAD = """\
# Concerns: what is said before a move, and after it

A concern has a code, a severity, a cause, and a remedy where there is something to do. `vmferry migrate --dry-run` and
`vmferry inventory SOURCE --assess` show those that are known before anything is touched; a job shows them, too, and
what conversion and boot check add. A blocker stops a job before anything is touched. A warning and a note stop nothing.

This page is made by `python -m tests.concerns`, and a test holds it against what is raised: by VMs in the lab's vCenter
that are read through its API, by packages and folders of files, and, where "in the guest" is written, by a guest of a
few files in place of a real one.
"""
TITLES = {"blocker": "Blockers", "warning": "Warnings", "info": "Notes"}


def render(found: Sequence[Raised]) -> str:
    """By severity, then by code; the entries of one code in the order of the tables."""
    lines = [HEAD]
    for severity, title in TITLES.items():
        of_severity = [raised for raised in found if told(raised).severity == severity]
        lines += [f"## {title}", ""]
        for code in sorted({raised.entry.code for raised in of_severity}):
            lines += _code(code, [raised for raised in of_severity if raised.entry.code == code])
    return "\n".join(lines).rstrip("\n") + "\n"


def told(raised: Raised) -> Concern:
    """The concern that the entry is about."""
    for concern in raised.concerns:
        if concern.code == raised.entry.code:
            return concern
    raise LookupError(f"{raised.entry.said} does not raise {raised.entry.code}")


def _code(code: str, found: Sequence[Raised]) -> Iterator[str]:
    """What is told in the same words is written once."""
    yield from (f"### `{code}`", "")
    by_text: dict[tuple[str, str], list[str]] = {}
    for raised in found:
        concern = told(raised)
        said = f"{raised.entry.said}{' (in the guest)' if isinstance(raised.entry, OnGuest) else ''}"
        by_text.setdefault((concern.cause, concern.remedy), []).append(said)
    for (cause, remedy), said in by_text.items():
        whens = "; ".join(said)
        yield from (f"{whens[:1].upper()}{whens[1:]}:", "", f"> {_plain(cause)}")
        yield from (">", f"> {_plain(remedy)}") if remedy else ()
        yield ""


def _plain(text: str) -> str:
    """As it is, where Markdown would take it for something."""
    return "".join(f"\\{c}" if c in "\\`*<" else c for c in text)
