"""The step `convert`: who is tried, on what, and what is said when nobody takes the guest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.errors import ConversionFailed, UnsupportedGuest, VmferryError
from app.domain.models import VM, GuestReport, TargetFacts
from app.domain.move import ConverterName, MoveOptions
from converters import qcow2
from tests.unit.moves import make_vm
from workers.steps import convert
from workers.steps.convert import overlay_path

V2V, NATIVE, COMPAT = ConverterName.VIRT_V2V, ConverterName.NATIVE, ConverterName.COMPAT


class Converter:
    """Notes the overlays that it was given, and whether they were new; then it writes to them."""

    def __init__(self, error: VmferryError | None = None) -> None:
        self.error = error
        self.given: list[bool] = []

    def convert(
        self, vm: VM, disks: Sequence[Path], *, keys: dict[str, str], cancel: Any, log: Callable[[str], None]
    ) -> GuestReport:
        assert keys == {"all": "secret"}
        self.given = [b"touched" not in disk.read_bytes() for disk in disks]
        for disk in disks:
            disk.write_bytes(disk.read_bytes() + b"touched")
        if self.error:
            raise self.error
        return GuestReport(converter="it")


def run(
    folder: Path, converters: dict[ConverterName, Converter], wanted: ConverterName | None = None, **vm: Any
) -> tuple[GuestReport, list[str]]:
    said: list[str] = []
    context: Any = SimpleNamespace(
        vm=make_vm(**vm),
        store=SimpleNamespace(disk_keys=lambda job: {"all": "secret"} if job == "j1" else {}),
        job=SimpleNamespace(id="j1", options=MoveOptions(converter=wanted)),
        target=SimpleNamespace(facts=lambda: TargetFacts(tools={"virt-v2v-in-place": "2.2.0"})),
        target_spec=SimpleNamespace(image=SimpleNamespace(format="qcow2")),
        adapters=SimpleNamespace(converters=converters),
        cancel=lambda: None,
        event=lambda text, level="info": said.append(f"{level}: {text}"),
    )
    bases = [folder / "0.qcow2", folder / "1.qcow2"]
    for base in bases:
        qcow2.create(base, 1 << 20)
    return convert._by_the_best_converter(context, bases), said


def test_the_first_that_knows_the_guest_is_taken_and_says_why(tmp_path: Path) -> None:
    converters = {V2V: Converter(), NATIVE: Converter()}
    report, said = run(tmp_path, converters)
    assert report.reason == "it is the reference for this guest system"
    assert converters[NATIVE].given == []
    assert said == ["info: converter virt-v2v: it is the reference for this guest system"]


def test_the_next_is_tried_on_new_overlays(tmp_path: Path) -> None:
    converters = {V2V: Converter(UnsupportedGuest("unknown")), NATIVE: Converter()}
    report, said = run(tmp_path, converters)
    assert report.reason == "unknown"  # what virt-v2v said
    assert converters[NATIVE].given == [True, True]
    assert "warning: virt-v2v does not take this guest: unknown" in said


def test_when_nobody_takes_it_the_first_word_counts(tmp_path: Path) -> None:
    converters = {V2V: Converter(UnsupportedGuest("first")), NATIVE: Converter(UnsupportedGuest("second"))}
    with pytest.raises(UnsupportedGuest, match="first"):
        run(tmp_path, converters)


def test_another_failure_is_no_reason_for_another_converter(tmp_path: Path) -> None:
    converters = {V2V: Converter(ConversionFailed("broke")), NATIVE: Converter()}
    with pytest.raises(ConversionFailed, match="broke"):
        run(tmp_path, converters)
    assert converters[NATIVE].given == []


def test_the_one_that_is_asked_for_is_the_only_one(tmp_path: Path) -> None:
    converters = {NATIVE: Converter(UnsupportedGuest("no")), V2V: Converter()}
    with pytest.raises(UnsupportedGuest, match="no"):
        run(tmp_path, converters, NATIVE)
    assert converters[V2V].given == []


def test_a_guest_for_compat_only_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedGuest) as caught:
        run(tmp_path, {V2V: Converter()}, guest_id="freebsd13_64Guest")
    assert "compat" in caught.value.remedy
    assert not overlay_path(tmp_path / "0.qcow2").exists()
