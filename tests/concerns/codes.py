"""The codes of all concerns in the source: whatever is written there is in docs/concerns.md, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from tests.service import ROOT

CODE = ("app", "converters", "workers")


def in_source() -> set[str]:
    return {code for folder in CODE for path in (ROOT / folder).rglob("*.py") for code in codes_of(path.read_text())}


def codes_of(source: str) -> Iterator[str]:
    """Of `Concern(code=…)`, of `concern("…", …)`, and of tables of what has a code and a severity.

    ValueError for one that is not written there, or named there.
    """
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    tables = dict(_tables(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or (given := _code_given(node, tables)) is None:
            continue
        if isinstance(given, ast.Attribute) and given.attr == "code" and tables:
            continue  # a row's
        code = constants.get(given.id) if isinstance(given, ast.Name) else getattr(given, "value", None)
        if not isinstance(code, str):
            raise ValueError(f"line {node.lineno}: write the code of this concern out")
        yield code


def _tables(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """The rows' classes, with the names of their fields."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "NamedTuple" for base in node.bases):
            fields = [
                one.target.id
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            ]
            if {"code", "severity"} <= set(fields):
                yield node.name, fields


def _code_given(call: ast.Call, tables: Mapping[str, Sequence[str]]) -> ast.expr | None:
    name = getattr(call.func, "id", None) or getattr(call.func, "attr", None) or ""
    if name == "concern":
        return call.args[0] if call.args else None
    if name != "Concern" and name not in tables:
        return None
    place = tables[name].index("code") if name in tables else len(call.args)
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    return call.args[place] if place < len(call.args) else named
