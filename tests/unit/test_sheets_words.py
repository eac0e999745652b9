"""What one cell holds: several words, pairs, and the guard against formulas. What is written is read as it was."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.sheets.guard import guard, unguard
from app.sheets.words import join, join_pairs, split, split_pairs

HOSTILE = st.text(st.sampled_from("ab\"';=\n\r\t +-@,é☃\x00\x85\u2028"), max_size=12)


@given(st.lists(HOSTILE))
@example(['"', ";", " ", ""])
def test_words_come_back(words: list[str]) -> None:
    assert split(join(words)) == tuple(words)


@given(st.dictionaries(HOSTILE, HOSTILE))
@example({"a=b": "c=d", "": ""})
def test_pairs_come_back(pairs: dict[str, str]) -> None:
    assert split_pairs(join_pairs(pairs)) == pairs


@given(st.text() | HOSTILE)
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (split, split_pairs):
        with suppress(ValueError):
            read(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("db01", ("db01",)),
        (" db01 ;; app 01;", ("db01", "app 01")),
        ("db01\napp01\r\n", ("db01", "app01")),
        ('"a;b" ; 10" rack', ("a;b", '10" rack')),
        ("a=b, c", ("a=b, c",)),
        ("", ()),
    ],
)
def test_what_a_person_writes(text: str, words: tuple[str, ...]) -> None:
    assert split(text) == words


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("VM Network=default; DMZ = bridge:br0 ;", {"VM Network": "default", "DMZ": "bridge:br0"}),
        ("*=default\nDMZ=a=b", {"*": "default", "DMZ": "a=b"}),
        ('"a=b" = "c;d"', {"a=b": "c;d"}),
        (";", {}),
    ],
)
def test_pairs_that_a_person_writes(text: str, pairs: dict[str, str]) -> None:
    assert split_pairs(text) == pairs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("default", 'after "default" comes no "="'),
        ("DMZ=", "nothing"),
        ("=br0", "nothing"),
        ("A=b; A=c", '"A" is there twice'),
        ('"A=b', "not closed"),
        ('"A" B=c', "'B'"),
    ],
)
def test_pairs_that_are_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        split_pairs(text)


def test_long_text_costs_little() -> None:
    assert len(split(";" * 1_000_000)) == 0
    with pytest.raises(ValueError, match="not closed"):
        split('"' * 1_000_001)


@given(st.text() | HOSTILE)
@example("=1+1")
@example("'=1+1")
@example("''=1+1")
@example("it's")
def test_the_guard_is_taken_off_where_it_was_put(text: str) -> None:
    guarded = guard(text)
    assert unguard(guarded) == text
    assert guarded[:1] not in ("=", "+", "-", "@", "\t", "\r") or not guarded


def test_only_what_needs_it_is_guarded() -> None:
    assert [guard(text) for text in ("a=1", "'tis", "", "00123")] == ["a=1", "'tis", "", "00123"]
    assert [guard(text) for text in ("=1", "+49", "-1", "@x", "\tx", "\rx")] == [
        "'=1",
        "'+49",
        "'-1",
        "'@x",
        "'\tx",
        "'\rx",
    ]
