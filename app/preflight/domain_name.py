"""A name that libvirt, its tools and its log files can carry."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move

MAX_BYTES = 200  # libvirt makes file names of it (NAME.log, NAME_VARS.fd); a file name has 255 bytes


def check(move: Move, _facts: TargetFacts) -> Iterable[Concern]:
    if why := fault(move.domain_name):
        yield Concern(
            code="domain_name_invalid",
            severity="blocker",
            cause=f"{move.domain_name!r} cannot be the name of a domain: {why}",
            remedy="Give it another name on the target (target_name).",
        )


def fault(name: str) -> str:
    """What is wrong with a domain's name; "" when nothing is."""
    if not name.strip():
        return "it is empty"
    if name in (".", "..") or "/" in name:
        return "it reads as a path"
    if name.startswith("-"):
        return "a leading dash reads as an option"
    if any(unicodedata.category(c) in ("Cc", "Cs") or ord(c) & 0xFFFE == 0xFFFE for c in name):
        return "it has control characters"
    if len(name.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    return ""
