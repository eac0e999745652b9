"""docs/plan-checks.md has every code that a check of a plan tells."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from app.services.planning.values import NOT_YET

ROOT = Path(__file__).parents[2]


def told() -> set[str]:
    """The codes in calls of found.error and found.warning that are written out."""
    codes = {NOT_YET}
    for file in (ROOT / "app/services/planning").glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and len(call.args) > 2:
                code = call.args[1]
                if call.func.attr in ("error", "warning") and isinstance(code, ast.Constant):
                    codes.add(str(code.value))
    return codes


def test_every_code_is_described_and_none_that_is_not_told() -> None:
    page = (ROOT / "docs/plan-checks.md").read_text().partition("## What an import changes")[0]
    described = set(re.findall(r"`([a-z]+_[a-z_]+)`", page))
    codes = told()
    assert len(codes) > 30
    assert codes - described == set()
    by_field = {"strategy_unknown", "profile_unknown", "format_unknown", "cpus_invalid"}
    assert described - codes - by_field - {"domain_exists"} == set()
