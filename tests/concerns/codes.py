"""The codes of all concerns in the source: whatever is written there is in docs/concerns.md, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.service import ROOT

CODE = ("app", "converters", "workers")


def in_source() -> set[str]:
    return {code for folder in CODE for path in (ROOT / folder).rglob("*.py") for code in codes_of(path.read_text())}


def codes_of(source: str) -> Iterator[str]:
    """Of `Concern(code=…)` and `concern("…", …)`. ValueError for one that is not written there, or named there."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (given := _code_given(node)) is not None:
            code = constants.get(given.id) if isinstance(given, ast.Name) else getattr(given, "value", None)
            if not isinstance(code, str):
                raise ValueError(f"line {node.lineno}: write the code of this concern out")
            yield code


def _code_given(call: ast.Call) -> ast.expr | None:
    name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
    if name == "Concern":
        return next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    return call.args[0] if name == "concern" and call.args else None
