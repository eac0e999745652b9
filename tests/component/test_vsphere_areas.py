"""Allocated areas from change tracking: taken where they can be trusted, else the whole disk is read."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from app.ports.disks import Area
from app.ports.source import Source
from tests.component.test_vsphere_source import raw
from tests.contract.source_platforms import MIB
from tests.contract.test_source import content, go_on
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.sources.vsphere import changes

SIZE = 16 * MIB
WHOLE = [Area(0, SIZE)]


@pytest.fixture(scope="module")
def vm_id(lab: Lab) -> str:
    """64 areas of 64 KiB, one in each 256 KiB."""
    return lab.add(VmSpec("tracked", [DiskSpec(size_mib=16, fill_mib=4)], on=False, change_tracking=True))


def areas(source: Source, vm_id: str) -> tuple[list[Area], list[Any]]:
    with source.access(vm_id, "https", cancel=go_on) as access, capture_logs() as logs:
        return list(access.disk(2000).areas()), [entry["event"] for entry in logs if entry["log_level"] == "warning"]


@pytest.mark.parametrize("limit", [3, 64, 2000])
def test_only_what_is_allocated_is_read(lab: Lab, source: Source, vm_id: str, limit: int) -> None:
    lab.set_max_areas(limit)
    asked = lab.calls().get("QueryChangedDiskAreas", 0)
    found, warnings = areas(source, vm_id)
    assert found == [Area(i << 18, 64 << 10) for i in range(64)]
    assert warnings == []
    assert lab.calls()["QueryChangedDiskAreas"] - asked == max(1, -(-64 // limit))
    with source.access(vm_id, "https", cancel=go_on) as access:
        assert content(access.disk(2000), SIZE) == raw(lab, vm_id)


def test_the_bytes_moved_are_little_more_than_those_allocated(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("sparse", [DiskSpec(size_mib=1024, fill_mib=16)], on=False, change_tracking=True))
    found, _ = areas(source, vm_id)
    assert sum(area.length for area in found) == 16 * MIB


def test_very_many_areas_become_fewer(lab: Lab, source: Source, vm_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_AREAS", 10)
    lab.set_max_areas(7)
    found, _ = areas(source, vm_id)
    assert len(found) <= 10
    with source.access(vm_id, "https", cancel=go_on) as access:
        assert content(access.disk(2000), SIZE) == raw(lab, vm_id)


def test_an_empty_disk_has_no_areas(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("empty", [DiskSpec(size_mib=16)], on=False, change_tracking=True))
    assert areas(source, vm_id) == ([], [])


def test_a_full_disk_is_one_area(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("full", [DiskSpec(size_mib=16, fill_mib=16)], on=False, change_tracking=True))
    lab.set_max_areas(1)
    assert areas(source, vm_id) == (WHOLE, [])


def test_without_tracking_nobody_is_asked(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("untracked", [DiskSpec(size_mib=16, fill_mib=4)], on=False))
    lab.clear()
    assert areas(source, vm_id) == (WHOLE, [])
    assert "QueryChangedDiskAreas" not in lab.calls()


@pytest.mark.parametrize("lie", ["overlap", "outside", "backwards", "stuck"])
def test_an_answer_that_cannot_be_true(lab: Lab, source: Source, vm_id: str, lie: str) -> None:
    lab.set_tracking_lie(lie)
    assert areas(source, vm_id) == (WHOLE, ["change tracking is of no use, the whole disk is read"])


def test_an_answer_that_leaves_data_out(lab: Lab, source: Source, vm_id: str) -> None:
    lab.set_tracking_lie("half")
    assert areas(source, vm_id) == (WHOLE, ["change tracking leaves data out, the whole disk is read"])


@pytest.mark.parametrize("fault", ["FileFault", "InvalidArgument", "NotFound", "SystemError"])
def test_a_fault_means_the_whole_disk(lab: Lab, source: Source, vm_id: str, fault: str) -> None:
    lab.fault("QueryChangedDiskAreas", fault, count=0)
    assert areas(source, vm_id) == (WHOLE, ["change tracking is of no use, the whole disk is read"])


def test_a_fault_after_some_answers_means_the_whole_disk(lab: Lab, source: Source, vm_id: str) -> None:
    lab.set_max_areas(10)
    lab.fault("QueryChangedDiskAreas", "FileFault", skip=3, count=0)
    assert areas(source, vm_id)[0] == WHOLE


def test_a_missing_privilege_means_the_whole_disk(lab: Lab, source: Source, vm_id: str) -> None:
    lab.deny("VirtualMachine.Provisioning.DiskRandomRead")
    assert areas(source, vm_id)[0] == WHOLE


def test_old_hosts_are_not_believed(lab: Lab, source: Source, vm_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "OLDEST_HOST", (99,))
    assert areas(source, vm_id)[0] == WHOLE
