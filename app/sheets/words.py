"""Several words in one cell: "db01; app01", and "VM Network=default; DMZ=bridge:br0". Each reading has its writing.

Words are separated by ";" or a line break. One that has such a character in it, or begins with a quote, stands in
double quotes, and a quote within them is doubled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_STOPS = ";\n\r"
_PLAIN = re.compile(r'(?!\s)[^";=\n\r]+(?<!\s)')


def split(text: str) -> tuple[str, ...]:
    """The words. Raises ValueError, saying what is wrong."""
    words, at = [], 0
    while at < len(text):
        word, at = _word(text, at, _STOPS)
        if word is not None:
            words.append(word)
        at += 1
    return tuple(words)


def join(words: Iterable[str]) -> str:
    return "; ".join(map(_quoted, words))


def split_pairs(text: str) -> dict[str, str]:
    """name → value. Raises ValueError, saying what is wrong."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text):
        name, at = _word(text, at, _STOPS + "=")
        if text[at : at + 1] == "=":
            value, at = _word(text, at + 1, _STOPS)
            if name is None or value is None:
                raise ValueError(f'on one side of the "=" of "{name or ""}={value or ""}" is nothing')
            if name in pairs:
                raise ValueError(f'"{name}" is there twice')
            pairs[name] = value
        elif name is not None:
            raise ValueError(f'after "{name}" comes no "="')
        at += 1
    return pairs


def join_pairs(pairs: Mapping[str, str]) -> str:
    return "; ".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs.items())


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else '"' + word.replace('"', '""') + '"'


def _word(text: str, at: int, stops: str) -> tuple[str | None, int]:
    """The word from `at` on, without the blanks around it, and where its stop is; None for no word at all."""
    end = next((i for i in range(at, len(text)) if text[i] in stops), len(text))
    word = text[at:end].strip()
    if not word.startswith('"'):
        return word or None, end
    at = text.index('"', at)
    parts = []
    while True:
        close = text.find('"', at + 1)
        if close < 0:
            raise ValueError("a quote is not closed")
        parts.append(text[at + 1 : close])
        at = close + 1
        if text[at : at + 1] != '"':
            break
    while at < len(text) and text[at] not in stops:
        if not text[at].isspace():
            raise ValueError(f'behind "{parts[-1]}" in quotes comes {text[at]!r}')
        at += 1
    return '"'.join(parts), at
