"""Whatever a user may be told of is raised here by the thing that raises it, and is on the page that lists it."""

from __future__ import annotations

import pytest

from tests.concerns.codes import codes_of, in_source
from tests.concerns.page import PAGE, render
from tests.concerns.raised import ENTRIES, Raised, raise_all


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Raised]:
    return raise_all(tmp_path_factory.mktemp("concerns"))


def test_each_entry_raises_what_it_says_and_nothing_else(found: list[Raised]) -> None:
    assert [raised.entry for raised in found] == list(ENTRIES)
    expected = {(raised.entry.code, raised.entry.said): _expected(raised) for raised in found}
    assert {key: _codes(raised) for key, raised in zip(expected, found, strict=True)} == expected


def _expected(raised: Raised) -> list[str]:
    return sorted({raised.entry.code, *getattr(raised.entry, "also", ())})


def _codes(raised: Raised) -> list[str]:
    return sorted(concern.code for concern in raised.concerns)


def test_an_assessment_says_the_same_as_a_dry_run(found: list[Raised]) -> None:
    assessed = [raised for raised in found if raised.assessed is not None]
    assert len(assessed) > 20
    assert [raised.assessed for raised in assessed] == [raised.concerns for raised in assessed]


def test_one_code_has_one_severity(found: list[Raised]) -> None:
    severities = {(concern.code, concern.severity) for raised in found for concern in raised.concerns}
    assert len(severities) == len({code for code, _ in severities})


def test_blockers_and_warnings_say_what_to_do(found: list[Raised]) -> None:
    silent = {c.code for raised in found for c in raised.concerns if c.severity != "info" and not c.remedy}
    assert silent == set()


def test_every_code_of_the_source_has_an_entry() -> None:
    assert in_source() - {entry.code for entry in ENTRIES} == set()


def test_no_entry_is_of_a_code_that_is_gone() -> None:
    assert {entry.code for entry in ENTRIES} - in_source() == set()


def test_codes_are_found_however_they_are_written() -> None:
    source = '_USED = "b"\nConcern(code="a")\nmodels.Concern(code=_USED)\nconcern("c", "info", "", "")\n'
    assert sorted(codes_of(source)) == ["a", "b", "c"]
    row = "class Row(NamedTuple):\n    pattern: str\n    code: str\n    severity: str\n"
    table = f'{row}ROWS = (Row("x", "d", "info"), Row("y", code="e", severity="info"))\nConcern(code=row.code)\n'
    assert sorted(codes_of(table)) == ["d", "e"]
    with pytest.raises(ValueError, match="line 1"):
        list(codes_of("Concern(code=row.code)"))
    with pytest.raises(ValueError, match="line 1"):
        list(codes_of('Concern(code=f"x_{y}")'))


def test_the_page_is_current(found: list[Raised]) -> None:
    assert render(found) == PAGE.read_text(), "write it anew: python -m tests.concerns"
