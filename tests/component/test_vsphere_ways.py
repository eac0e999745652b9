"""Which way to a VM's disks comes first, and why the others do not; what the check says of lost ways."""

from __future__ import annotations

import pytest

from app.domain.errors import TransportRefused
from app.domain.models import Way
from app.ports.source import Source
from tests.contract.source_platforms import lab_spec
from tests.contract.test_source import go_on
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.sources import open_source
from workers.sources.vsphere.check import WAYS

THIN = DiskSpec(size_mib=16, fill_mib=4)
THICK = DiskSpec(size_mib=16, fill_mib=16, thin=False)


def add(lab: Lab, *disks: DiskSpec, on: bool = False, tracked: bool = False, snapshots: int = 0) -> str:
    return lab.add(VmSpec("ways", list(disks), on=on, change_tracking=tracked, snapshots=snapshots))


def told(source: Source, vm_id: str) -> tuple[list[str], dict[str, Way]]:
    """The usable transports in their order, and all ways."""
    ways = source.ways(source.vm(vm_id))
    return [way.transport for way in ways if way.usable], {way.transport: way for way in ways}


def test_tracking_makes_ranges_the_best(lab: Lab, source: Source) -> None:
    usable, ways = told(source, add(lab, THIN, DiskSpec(size_mib=1024), tracked=True))
    assert usable == ["https", "nfc"]
    assert "4 connections" in ways["https"].reason
    assert "0.0 GiB only that are allocated of 1.0 GiB" in ways["https"].reason


def test_thin_disks_without_tracking_are_exported(lab: Lab, source: Source) -> None:
    usable, ways = told(source, add(lab, THIN))
    assert usable == ["nfc", "https"]
    assert "leaves out zeros" in ways["nfc"].reason


@pytest.mark.parametrize(("disks", "first"), [((THICK,), "https"), ((THICK, THIN, THIN), "nfc")])
def test_what_most_bytes_are_of_decides(lab: Lab, source: Source, disks: tuple[DiskSpec, ...], first: str) -> None:
    assert told(source, add(lab, *disks))[0][0] == first


def test_tracking_that_is_of_no_use_is_not_counted_on(lab: Lab, source: Source) -> None:
    vm_id = add(lab, THIN, tracked=True)
    lab.fault("QueryChangedDiskAreas", "FileFault", count=0)
    usable, ways = told(source, vm_id)
    assert usable == ["nfc", "https"]
    assert "all 0.0 GiB are read" in ways["https"].reason


def test_a_host_without_ranges_is_asked_over_one_connection_at_last(lab: Lab) -> None:
    direct = open_source(lab_spec(lab, kind="esxi"))
    vm_id = add(lab, THICK, tracked=True)
    lab.set_ranges(False)
    usable, ways = told(direct, vm_id)
    assert usable == ["nfc", "https"]
    assert "no byte ranges" in ways["https"].reason
    lab.clear()
    direct.close()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda lab: lab.set_ranges(False), "whole file"),
        (lambda lab: lab.set_datastore_type("vsan"), "vsan"),
        (lambda lab: lab.deny("Datastore.Browse"), "not let the account"),
        (lambda lab: lab.set_busy(True), "holds the disk's file open"),
        (lambda lab: lab.http_fault("/folder/", status=503, count=0), "503"),
    ],
)
def test_why_files_cannot_be_read(lab: Lab, source: Source, trouble: object, words: str) -> None:
    vm_id = add(lab, THIN, tracked=True)
    trouble(lab)  # type: ignore[operator]
    usable, ways = told(source, vm_id)
    assert usable == ["nfc"]
    assert words in ways["https"].reason


def test_a_vm_with_snapshots_is_exported(lab: Lab, source: Source) -> None:
    usable, ways = told(source, add(lab, THIN, tracked=True, snapshots=1))
    assert usable == ["nfc"]
    assert "snapshots" in ways["https"].reason


def test_a_running_vm(lab: Lab, source: Source) -> None:
    usable, ways = told(source, add(lab, THIN, on=True))
    assert usable == ["nfc"]
    assert "in use" in ways["https"].reason
    assert "snapshot only" in ways["nfc"].reason


def test_what_an_export_cannot_give(lab: Lab, source: Source) -> None:
    vm_id = add(lab, THIN, DiskSpec(size_mib=2, mode="independent_persistent"))
    usable, ways = told(source, vm_id)
    assert usable == ["https"]
    assert "Hard disk 2" in ways["nfc"].reason
    vm_id = add(lab, THIN)
    lab.deny("VApp.Export")
    usable, ways = told(source, vm_id)
    assert usable == ["https"]
    assert "VApp.Export" in ways["nfc"].reason


def test_missing_plugins_are_named(lab: Lab, source: Source) -> None:
    vm_id = add(lab, THIN)
    _, ways = told(source, vm_id)
    assert not ways["nbd"].usable
    for words in ("vddk plugin is not installed", "nfc plugin is not installed", "only to an ESXi host itself"):
        assert words in ways["nbd"].reason
    with pytest.raises(TransportRefused, match="vddk plugin"), source.access(vm_id, "nbd", cancel=go_on):
        pass
    direct = open_source(lab_spec(lab, kind="esxi"))
    assert "VMFERRY_SSH_KNOWN_HOSTS is not set" in told(direct, vm_id)[1]["nbd"].reason
    direct.close()


def test_a_way_of_another_kind_of_source(lab: Lab, source: Source) -> None:
    with pytest.raises(TransportRefused, match="'file'"):
        source.access(add(lab, THIN), "file", cancel=go_on)


@pytest.mark.parametrize("privilege", WAYS)
def test_the_check_says_which_way_is_lost(lab: Lab, source: Source, privilege: str) -> None:
    lab.deny(privilege)
    rows = {row.name: row for row in source.check()}
    assert all(row.ok for row in rows.values())
    assert "without it there is no" in rows[f"privilege {privilege}"].detail
    assert privilege in rows[f"privilege {privilege}"].remedy
    lab.grant(privilege)
    assert {row.remedy for row in source.check()} == {""}
