"""Whatever is sent as a sheet: it is read, or refused with its place, and neither process takes much memory."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.process import run
from app.sheets.delimited import sheet as read_text
from app.sheets.formats import understand
from app.sheets.limits import MAX_MEMORY
from app.sheets.workbook import Workbook
from app.sheets.zip_check import Package
from tests.hostile.sheet_files import MIB, cell, package, sheet
from tests.hostile.sheets import CASES

OWN_MOST = 160 * MIB  # of the process that asks: the file, and a test's own libraries


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    lines = run([sys.executable, "-m", "tests.hostile.sheets"], timeout=900).text.splitlines()
    return {found["name"]: found for found in map(json.loads, lines)}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    case, found = CASES[name], outcomes[name]
    assert (found["code"], found.get("cell", "")) == (case.code, case.cell), found
    assert case.says in found.get("message", "")
    assert (found.get("kind") == "TooLarge") is case.large
    assert "Traceback" not in str(found)
    assert found["reader"] < min(case.memory, MAX_MEMORY + MIB)
    assert found["own"] < OWN_MOST
    if case.code:
        assert found["hint"]


def test_every_code_has_a_case() -> None:
    codes = {case.code for case in CASES.values()}
    assert codes == {"", "too_large", "sheet_unreadable", "sheet_unsafe", "sheet_encrypted"}


GOOD = package(sheet(), sheet(cell("A1")))


@given(st.data())
def test_a_zip_with_any_bytes_changed(data: st.DataObject) -> None:
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(len(changed) - 30, len(changed)))])
    with suppress(InvalidRequest):
        parts = Package(memoryview(cut))
        for name in parts.names:
            assert len(parts.read(name)) < MIB


BITS = st.sampled_from(
    [b"VM id", b"wave", b",", b";", b"\t", b'"', b"\r", b"\n", b"\0", b"\xff\xfe", b"\xe4", b"'=", b"1", b"sep=;\n"]
)


@given(st.lists(BITS, max_size=30).map(b"".join) | st.binary(max_size=200))
def test_any_bytes_as_text(data: bytes) -> None:
    with suppress(InvalidRequest):
        read = read_text("plan.csv", data)
        understand(Workbook("plan.csv", (read,)))
