"""The guard of a CSV's cells: programs that open one run a cell that begins with = + - @ TAB or CR as a formula.

Such a text gets an apostrophe before it, and so does one that begins with apostrophes and then such a character: hence
what is taken off is always what was put on.
"""

from __future__ import annotations

import re

_TO_GUARD = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(text: str) -> str:
    return f"'{text}" if _TO_GUARD.match(text) else text


def unguard(text: str) -> str:
    return text[1:] if _GUARDED.match(text) else text
