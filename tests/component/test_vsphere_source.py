"""What is vSphere's own about its Source: sessions, leases and the ways a body can end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import (
    LeaseExpired,
    NotFound,
    PermanentError,
    SourceDenied,
    SourceUnavailable,
    TransferInterrupted,
)
from app.domain.models import PowerState, SourceSpec
from app.ports.disks import ByteStream, DiskAccess
from app.ports.source import Source
from tests.contract.source_platforms import MIB, lab_spec
from tests.contract.test_source import decode, go_on
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from workers.sources import open_source


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(Path(tmp_path_factory.mktemp("lab")), lease_timeout=3) as lab:
        yield lab


@pytest.fixture(scope="module")
def vm_id(lab: Lab) -> str:
    """A VM that is off, with a disk of 8 MiB."""
    return lab.add(VmSpec("disks", [DiskSpec(size_mib=8, fill_mib=4)], on=False))


def raw(lab: Lab, vm_id: str) -> bytes:
    return Path(lab.vm(vm_id)["disks"][0]["path"]).read_bytes()


def drain(stream: ByteStream, size: int = MIB) -> int:
    """Read to the end; how many bytes there were."""
    buffer, total = memoryview(bytearray(size)), 0
    while count := stream.readinto(buffer):
        total += count
    return total


def failed(spec: SourceSpec) -> tuple[str, str, str]:
    """(name, detail, remedy) of the check that fails; the others were fine."""
    source = open_source(spec)
    rows = source.check()
    source.close()
    assert [row.ok for row in rows] == [True] * (len(rows) - 1) + [False]
    return rows[-1].name, rows[-1].detail, rows[-1].remedy


# login and session


def test_a_wrong_password(lab: Lab) -> None:
    spec = lab_spec(lab, password="Wr0ng-one!")
    name, detail, remedy = failed(spec)
    assert name == "login"
    assert "password" in remedy
    with pytest.raises(SourceDenied) as caught:
        open_source(spec).inventory()
    assert "Wr0ng-one!" not in f"{detail} {caught.value!r} {caught.value.__cause__!r} {caught.value.to_dict()} {spec!r}"


def test_a_vcenter_is_no_esxi(lab: Lab) -> None:
    name, _, remedy = failed(lab_spec(lab, kind="esxi"))
    assert (name, remedy) == ("api", "Register it as kind vcenter.")


def test_nobody_listens(lab: Lab) -> None:
    spec = lab_spec(lab, host="127.0.0.2:1")
    assert failed(spec)[0] == "reachable"
    with pytest.raises(SourceUnavailable):
        open_source(spec).inventory()


def test_a_session_that_ended_is_renewed_once_for_all_threads(lab: Lab, source: Source) -> None:
    lab.clear()
    source.inventory()
    assert lab.expire_sessions() == 1
    with ThreadPoolExecutor(8) as pool:
        found = [future.result() for future in [pool.submit(source.inventory) for _ in range(8)]]
    assert all(vms == found[0] for vms in found)
    assert lab.expire_sessions() == 1


def test_close_logs_out(lab: Lab) -> None:
    lab.expire_sessions()
    source = open_source(lab_spec(lab))
    source.now()
    source.close()
    source.close()
    assert lab.expire_sessions() == 0


def test_a_busy_server_is_asked_again(lab: Lab, source: Source) -> None:
    source.now()
    lab.http_fault("/sdk", status=503, count=2)
    assert source.now()
    lab.http_fault("/sdk", status=503, count=0)
    with pytest.raises(SourceUnavailable, match="503"):
        source.now()


def test_the_error_of_a_task_is_ours(lab: Lab, source: Source, vm_id: str) -> None:
    lab.fault("PowerOnVM_Task", "NotEnoughLicenses", task=True)
    with pytest.raises(PermanentError, match="NotEnoughLicenses"):
        source.power_on(vm_id)
    lab.fault("PowerOnVM_Task", "HostNotConnected", task=True)
    with pytest.raises(SourceUnavailable, match="HostNotConnected"):
        source.power_on(vm_id)


def test_a_vm_that_is_busy_is_waited_for(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("busy", [DiskSpec(size_mib=2)], on=False))
    lab.fault("PowerOnVM_Task", "TaskInProgress", task=True)
    source.power_on(vm_id)
    assert source.power_state(vm_id) is PowerState.ON


def test_a_lease_whose_owner_died_is_waited_for(lab: Lab, source: Source, vm_id: str) -> None:
    dead = source.access(vm_id, "nfc", cancel=go_on)
    dead.__enter__()._stop.set()  # type: ignore[attr-defined]  # its heart stops, as by kill -9
    asked: list[float] = []
    with source.access(vm_id, "nfc", cancel=lambda: asked.append(time.monotonic())) as export:
        assert decode(export.disk(2000).open_stream(), 8 * MIB) == raw(lab, vm_id)
    assert asked[-1] - asked[0] > 1
    assert lab.vm(vm_id)["open_leases"] == 0


def test_annotating_needs_its_privilege(lab: Lab, source: Source, vm_id: str) -> None:
    lab.deny("VirtualMachine.Config.Annotation")
    with pytest.raises(SourceDenied, match=r"VirtualMachine\.Config\.Annotation on VirtualMachine " + vm_id):
        source.annotate(vm_id, "x")


# exports


@pytest.mark.parametrize("where", ["host", "vcenter", "star"])
@pytest.mark.parametrize("mode", ["chunked", "length", "close"])
def test_every_form_of_an_export(lab: Lab, source: Source, vm_id: str, where: str, mode: str) -> None:
    lab.set_lease_host(where)
    lab.set_export_mode(mode)
    with source.access(vm_id, "nfc", cancel=go_on) as export:
        assert decode(export.disk(2000).open_stream(), 8 * MIB) == raw(lab, vm_id)
    assert lab.vm(vm_id)["open_leases"] == 0


@pytest.mark.parametrize("mode", ["chunked", "length", "close"])
def test_a_cut_body(lab: Lab, source: Source, vm_id: str, mode: str) -> None:
    lab.set_export_mode(mode)
    with source.access(vm_id, "nfc", cancel=go_on) as export:
        lab.http_fault("/nfc/", cut_percent=50)
        with pytest.raises(TransferInterrupted):
            decode(export.disk(2000).open_stream(), 8 * MIB)
        if mode != "close":  # there, only the VMDK tells a cut from an end
            lab.http_fault("/nfc/", cut_percent=50)
            with pytest.raises(TransferInterrupted):
                drain(export.disk(2000).open_stream())
        assert decode(export.disk(2000).open_stream(), 8 * MIB) == raw(lab, vm_id)  # the lease still stands


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, LeaseExpired), (401, LeaseExpired), (403, SourceDenied), (503, SourceUnavailable)],
)
def test_a_disk_that_is_not_served(lab: Lab, source: Source, vm_id: str, status: int, error: type[Exception]) -> None:
    lab.http_fault("/nfc/", status=status)
    with source.access(vm_id, "nfc", cancel=go_on) as export, pytest.raises(error):
        export.disk(2000).open_stream()


def test_a_slow_reader_keeps_its_lease_even_when_the_session_ends(lab: Lab, source: Source, vm_id: str) -> None:
    lab.clear()
    with source.access(vm_id, "nfc", cancel=go_on) as export:
        stream = export.disk(2000).open_stream()
        buffer = memoryview(bytearray(4096))
        stream.readinto(buffer)
        time.sleep(1)
        assert lab.expire_sessions() == 1
        time.sleep(4)  # longer than the lease lasts without a heartbeat
        assert drain(stream)
    calls = lab.calls()
    assert lab.expire_sessions() == 1
    assert calls["HttpNfcLeaseProgress"] >= 4
    assert calls["HttpNfcLeaseComplete"] == 1
    assert "HttpNfcLeaseAbort" not in calls


def test_a_lease_that_cannot_be_kept_ends_the_reading(lab: Lab, source: Source, vm_id: str) -> None:
    with pytest.raises(LeaseExpired), source.access(vm_id, "nfc", cancel=go_on) as export:  # noqa: PT012
        lab.http_fault("/nfc/", rate=2000)
        stream = export.disk(2000).open_stream()
        lab.fault("HttpNfcLeaseProgress", "SystemError", count=0)
        drain(stream)


def test_the_end_of_an_export_wakes_a_blocked_read(lab: Lab, source: Source, vm_id: str) -> None:
    lab.http_fault("/nfc/", rate=2000)
    seen: list[BaseException] = []

    def read(stream: ByteStream) -> None:
        try:
            drain(stream)
        except LeaseExpired as error:
            seen.append(error)

    with source.access(vm_id, "nfc", cancel=go_on) as export:
        reader = threading.Thread(target=read, args=(export.disk(2000).open_stream(),))
        reader.start()
        time.sleep(0.5)
        assert reader.is_alive()
        left = time.monotonic()
    reader.join(5)
    assert not reader.is_alive()
    assert len(seen) == 1
    assert time.monotonic() - left < 5


def test_a_snapshot_of_a_running_vm(lab: Lab, source: Source) -> None:
    """What the guest writes later is in none of its disks."""
    vm_id = lab.add(
        VmSpec("runs on", [DiskSpec(size_mib=4, fill_mib=2), DiskSpec(size_mib=2, fill_mib=1)], snapshots=1)
    )
    disks = lab.vm(vm_id)["disks"]
    then = {disk["key"]: Path(disk["path"]).read_bytes() for disk in disks}
    for disk in disks:
        with Path(disk["path"]).open("r+b") as file:
            file.write(b"written later")
    snapshot = lab.vm(vm_id)["snapshots"][0]["id"]
    with source.access(vm_id, "nfc", snapshot=snapshot, cancel=go_on) as export:
        assert list(export.disk_keys) == list(then)
        for key, content in then.items():
            assert decode(export.disk(key).open_stream(), len(content)) == content
        first = export.disk(2000).identity
        assert lab.vm(vm_id)["open_leases"] == 1
    assert lab.vm(vm_id)["open_leases"] == 0
    assert source.power_state(vm_id) is PowerState.ON
    with source.access(vm_id, "nfc", snapshot=snapshot, cancel=go_on) as export:
        assert export.disk(2000).identity == first


def test_a_snapshot_that_is_gone(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("no snapshot", [DiskSpec(size_mib=2)]))
    with pytest.raises(NotFound), source.access(vm_id, "nfc", snapshot="snapshot-999", cancel=go_on):
        pass


@pytest.mark.parametrize("where", ["host", "vcenter"])
def test_several_streams_of_one_lease(lab: Lab, source: Source, where: str) -> None:
    lab.set_lease_host(where)
    vm_id = lab.add(VmSpec("streams", [DiskSpec(size_mib=8, fill_mib=8, seed=i) for i in range(4)], on=False))
    content = [Path(disk["path"]).read_bytes() for disk in lab.vm(vm_id)["disks"]]
    all_open = threading.Barrier(8)

    def read(export: DiskAccess, key: int) -> bytes:
        stream = export.disk(key).open_stream()  # type: ignore[union-attr]
        all_open.wait(20)
        return decode(stream, 8 * MIB)

    with source.access(vm_id, "nfc", cancel=go_on) as export, ThreadPoolExecutor(8) as pool:
        keys = [*export.disk_keys, *export.disk_keys]
        found = [future.result() for future in [pool.submit(read, export, key) for key in keys]]
    assert found == [*content, *content]


def test_nvram_is_no_disk(lab: Lab, source: Source) -> None:
    efi = lab.add(VmSpec("efi", [DiskSpec(size_mib=2)], firmware="efi", on=False))
    assert source.vm(efi).firmware == "efi"
    with source.access(efi, "nfc", cancel=go_on) as export:
        assert list(export.disk_keys) == [2000]


def test_limits_are_seen(lab: Lab, source: Source) -> None:
    disks = [DiskSpec(size_mib=1)]
    limits: dict[str, Any] = {"cpu_hot_add": True, "cpu_shares": 500, "cpu_limit_mhz": 1000, "memory_limit_mib": 256}
    vms = VmSpec("plain", disks, on=False), VmSpec("limited", disks, on=False, **limits)
    seen = [source.vm(lab.add(vm)) for vm in vms]
    assert [(vm.cpu_hot_add, vm.cpu_shares, vm.cpu_limit_mhz, vm.memory_limit_bytes) for vm in seen] == [
        (False, None, None, None),
        (True, 500, 1000, 256 << 20),
    ]
    more = {"memory_hot_add": True, "cpu_reservation_mhz": 100, "memory_reservation_mib": 1024}
    seen.append(source.vm(lab.add(VmSpec("kept", disks, on=False, **more))))
    assert [(vm.memory_hot_add, vm.cpu_reservation_mhz, vm.memory_reservation_bytes) for vm in seen] == [
        (False, 0, 0),
        (False, 0, 0),
        (True, 100, 1 << 30),
    ]
    assert all(vm.host_mhz > 0 for vm in seen)


def test_a_cards_network_has_its_vlan_and_mtu(lab: Lab, source: Source) -> None:
    vm = source.vm(lab.add(VmSpec("wired", [DiskSpec(size_mib=1)], on=False)))
    assert [(nic.network, nic.vlan, nic.mtu, nic.sends) for nic in vm.nics] == [("VM Network", 0, 1500, None)]


def test_snapshots_and_tracking_are_seen(lab: Lab, source: Source) -> None:
    vm = source.vm(lab.add(VmSpec("kept", [DiskSpec(size_mib=2)], snapshots=2, change_tracking=True)))
    assert len(vm.snapshots) == 2
    assert vm.change_tracking
    assert (vm.host, vm.cluster, vm.datacenter, vm.folder) == ("DC0_C0_H0", "DC0_C0", "DC0", "")
