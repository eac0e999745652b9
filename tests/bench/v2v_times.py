"""What virt-v2v says of its own time. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

BEGIN, END = "Opening the source", "Setting up the destination"  # of what we count as its conversion
_SAID = re.compile(r"\[ *(\d+\.\d+)\] (.+)")


def conversion_seconds(said: Sequence[str]) -> float:
    """How long virt-v2v opened, inspected and converted the guest. Raises KeyError where it does not say so."""
    times: dict[str, float] = {}
    for line in said:
        if found := _SAID.fullmatch(line.strip()):
            for words in (BEGIN, END):
                if found[2].startswith(words):
                    times.setdefault(words, float(found[1]))
    return times[END] - times[BEGIN]
