"""What an assessment guesses of the way, and what the command line makes of many."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli.assessments import Verdict, show, summary
from app.cli.output import Output
from app.domain.models import VM, Disk, SourceKind
from app.domain.ways import likely_way

GIB = 1 << 30


def vm(*thin: bool, **fields: Any) -> VM:
    disks = tuple(Disk(key=n, label=f"Hard disk {n}", capacity_bytes=GIB, thin=one) for n, one in enumerate(thin))
    known = {"id": "vm-1", "name": "web", "uuid": "u", "power_state": "on", "memory_bytes": GIB}
    return VM.model_validate({**known, "disks": disks, **fields})


@pytest.mark.parametrize(
    ("kind", "found", "transport"),
    [
        ("ova", vm(True), "file"),
        ("vmx", vm(False), "file"),
        ("vcenter", vm(True), "nfc"),
        ("vcenter", vm(False), "https"),
        ("esxi", vm(False, True), "https"),
        ("esxi", vm(False, True, True), "nfc"),
        ("vcenter", vm(True, change_tracking=True), "https"),
        ("vcenter", vm(False, change_tracking=True, snapshots=("one",)), "nfc"),
    ],
)
def test_the_way_that_is_tried_first(kind: SourceKind, found: VM, transport: str) -> None:
    way = likely_way(kind, found)
    assert way.transport == transport
    assert way.reason


def item(verdict: Verdict, *concerns: str, **changes: Any) -> dict[str, Any]:
    hardware = {"firmware": "bios", "secure_boot": False, "tpm": False, "cpus": 2, "memory_bytes": 4 * GIB}
    devices = {"disks": 2, "disk_bus": "virtio", "nics": 1, "nic_model": "virtio"}
    return {
        "vm": {"id": "vm-1", "name": "web"},
        "verdict": verdict.value,
        "transport": "nfc",
        "converter": "native",
        "hardware": hardware | devices | changes.pop("hardware", {}),
        "disk_bytes": 512 * GIB,
        "seconds": 5400.0,
        "concerns": [{"code": code, "severity": severity} for severity, code in (c.split() for c in concerns)],
        "pace": {"bytes_a_second": 100 << 20, "rest_s": 180.0, "moves": 0},
        **changes,
    }


def test_many_are_summed_up() -> None:
    found = [
        item(Verdict.READY, "info boot_not_checked"),
        item(Verdict.WITH_WARNINGS, "warning pool_may_fill_up"),
        *[item(Verdict.BLOCKED, "blocker disk_is_rdm", "blocker disk_is_rdm", "warning pool_may_fill_up")] * 2,
        item(Verdict.BLOCKED, "blocker vm_is_template"),
    ]
    assert list(summary(found)) == [
        "5 VMs, 2.5 TiB: 1 ready, 1 with warnings, 3 blocked",
        "Not blocked: 1.0 TiB, about 3.0 hours one after the other, assuming 100 MiB/s, and 3:00 for each beside the"
        " copy: none was moved to this target yet",
        "Blockers: disk_is_rdm 2, vm_is_template 1",
        "Warnings: pool_may_fill_up 3",
    ]


def test_the_estimate_says_what_it_stands_on() -> None:
    moved = item(Verdict.READY, pace={"bytes_a_second": 50 << 20, "rest_s": 75.0, "moves": 12})
    assert list(summary([moved]))[1].endswith(
        "as the last 12 that were moved to this target: 50.0 MiB/s, and 1:15 for each beside the copy"
    )


def test_none_are_summed_up_too() -> None:
    assert list(summary([])) == ["0 VMs, 0 B: 0 ready, 0 with warnings, 0 blocked"]


class _Service:
    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items
        self.asked: dict[str, Any] = {}

    def list(self, path: str, **params: Any) -> list[dict[str, Any]]:
        self.asked = params
        return self.items


def test_each_vm_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    secure = {"firmware": "efi", "secure_boot": True, "tpm": True, "disks": 0, "disk_bus": ""}
    service: Any = _Service([item(Verdict.WITH_WARNINGS, "warning b", "info a", hardware=secure, converter=None)])
    show(service, Output.TABLE, source="s", target="", verdict=Verdict.BLOCKED, concern="b")
    assert service.asked == {"source": "s", "target": "", "verdict": "blocked", "concern": "b", "limit": 500}
    head, row, *_ = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [cell.strip() for cell in head if cell][:3] == ["NAME", "VERDICT", "WAY"]
    assert [cell.strip() for cell in row if cell] == [
        "web", "with warnings", "nfc, yours to choose", "2", "4.0 GiB", "efi, secure boot, tpm", "0", "1 virtio",
        "512 GiB", "1:30:00", "b, a",
    ]  # fmt: skip
