"""How what somebody wrote is repeated to him, and what he may have meant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.domain.spelling import did_you_mean

SHOWN = 80  # characters of what was written
LISTED = 10  # names of those that would have been right
SEARCHED = 1000  # names that are compared with one word
BUDGET = 100_000  # comparisons that one check makes to guess what was meant: a second or two


def said(text: str) -> str:
    """A value in quotes, on one line and not too long."""
    one_line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: SHOWN + 1])
    return f'"{one_line}"' if len(text) <= SHOWN else f'"{one_line[:SHOWN]}…"'


def listed(names: Collection[str]) -> str:
    """ "default, ssd"; "none"; the first ten "and 12 more"."""
    shown = ", ".join(name if len(name) <= SHOWN else f"{name[:SHOWN]}…" for name in sorted(names)[:LISTED])
    more = len(names) - LISTED
    return f"{shown} and {more} more" if more > 0 else shown or "none"


class Suggestions:
    """Guesses what was meant, until one check has spent its budget: a sheet may have ten thousand wrong names."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget

    def did_you_mean(self, word: str, names: Sequence[str]) -> str:
        """'Did you mean "nvme01"?', or "" where nothing is near."""
        if not word or self._left <= 0:
            return ""
        self._left -= len(names) // 50
        near = _alike(word, names) if len(names) > SEARCHED else names
        self._left -= len(near) * (1 + len(word) // 20)
        return did_you_mean(word[:SHOWN], near)


def _alike(word: str, names: Sequence[str]) -> list[str]:
    """Of very many names those that begin or end like the word, and are about as long."""
    first, last, most = word[:1].casefold(), word[-1:].casefold(), 1 + len(word) // 4
    alike = [
        name
        for name in names
        if abs(len(name) - len(word)) <= most and (name[:1].casefold() == first or name[-1:].casefold() == last)
    ]
    return alike[:SEARCHED]
