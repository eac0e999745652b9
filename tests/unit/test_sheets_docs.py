"""docs/sheet.md has every column. `pytest --regenerate` writes its tables anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.sheets.columns import COLUMNS, STATE_COLUMNS, WAVE_COLUMNS, Column

PAGE = Path(__file__).parents[2] / "docs" / "sheet.md"


@pytest.mark.parametrize(
    ("heading", "columns"),
    [("Plan", COLUMNS), ("Waves", WAVE_COLUMNS), ("What an export adds", STATE_COLUMNS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_column_is_described(heading: str, columns: tuple[Column, ...], request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text()
    made = with_table(page, heading, columns)
    if request.config.getoption("--regenerate"):
        PAGE.write_text(made)
    else:
        assert page == made


def with_table(page: str, heading: str, columns: tuple[Column, ...]) -> str:
    rows = [f"| {each.header} | {each.help} |\n" for each in columns]
    before, title, section = page.partition(f"## {heading}\n")
    assert title, heading
    text, following, rest = section.partition("\n## ")
    kept = re.sub(r"^\|.*\n?", "", text, flags=re.M).strip()
    kept = f"\n{kept}\n" if kept else ""
    return f"{before}{title}{kept}\n| column | |\n| --- | --- |\n{''.join(rows)}{following}{rest}"
