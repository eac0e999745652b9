"""Names that people typed, compared with names that are there."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
_SEARCHED = 2000  # names that are gone through for a similar one: each costs some 20 µs


def plain(text: str) -> str:
    """One spelling of what looks the same: composed characters, ordinary blanks, none around it, none invisible."""
    if text.isascii():
        return text.strip()
    shown = unicodedata.normalize("NFC", text).translate(_INVISIBLE)
    return "".join(" " if unicodedata.category(char) == "Zs" else char for char in shown).strip()


def folded(text: str) -> str:
    """By which names are the same, however they are spelt and whatever their case."""
    return plain(text).casefold()


def one_name(text: str) -> str:
    """Its one spelling. Raises ValueError for what is on several lines or has control characters."""
    name = plain(text)
    if not (name.isascii() and name.isprintable()):
        for char in name:
            if unicodedata.category(char) in ("Cc", "Cs"):
                what = "a line break" if char in "\r\n" else f"the character U+{ord(char):04X}"
                raise ValueError(f"there is {what} in it")
    return name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean "nvme01"?', or nothing where nothing is like it."""
    names = {folded(name): name for name in known}
    wanted = folded(word)
    near = [wanted] if wanted in names else []
    if not near and len(names) <= _SEARCHED:
        near = difflib.get_close_matches(wanted, names, 1, 0.7)
    return f'Did you mean "{names[near[0]]}"?' if near else ""
