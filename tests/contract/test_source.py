"""What every Source does: in memory, against a vCenter and a host, and over files where it needs nothing else."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from app.domain.errors import (
    Cancelled,
    LeaseExpired,
    NotFound,
    Parked,
    ShutdownFailed,
    SourceChanged,
    SourceDenied,
)
from app.domain.models import PowerState
from app.ports.disks import ByteStream, RangeDisk, StreamDisk
from app.ports.source import Source
from converters.vmdk_stream import StreamReader
from tests.contract.package_platform import OvaPlatform
from tests.contract.source_platforms import MIB, LabPlatform, ManagedPlatform, MemoryPlatform, Platform
from tests.contract.vmx_platform import VmxPlatform
from tests.lab.lab import Lab
from tests.sshd import sshd
from workers.sources.vsphere.nbdkit import NbdkitOptions


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(Path(tmp_path_factory.mktemp("lab"))) as lab:
        yield lab


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, NbdkitOptions]]:
    """A lab that says it is an ESXi host, and how to get at its files over SSH."""
    folder = Path(tmp_path_factory.mktemp("host"))
    with (
        Lab(folder / "lab", api_type="HostAgent", username=getpass.getuser()) as lab,
        sshd(folder, lab.host) as ssh,
    ):
        (folder / "volumes").mkdir()
        (folder / "volumes/lab").symlink_to(lab.directory / "datastore")
        yield lab, NbdkitOptions(None, ssh.known_hosts, ssh.identity, ssh.port, str(folder / "volumes"))


@pytest.fixture(params=["memory", "vcenter", "esxi"])
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    if request.param == "memory":
        yield MemoryPlatform()
        return
    if request.param in ("ova", "vmx"):
        files = OvaPlatform() if request.param == "ova" else VmxPlatform()
        yield files
        files.source.close()
        files.remove()
        return
    lab, nbdkit = request.getfixturevalue("host") if request.param == "esxi" else (request.getfixturevalue("lab"), None)
    platform = LabPlatform(lab, request.param, nbdkit)
    yield platform
    lab.clear()
    platform.source.close()


EVERYWHERE = pytest.mark.parametrize("platform", ["memory", "vcenter", "esxi", "ova", "vmx"], indirect=True)
"""For tests that ask nothing of a platform but to have VMs that are off."""

STREAMS = pytest.mark.parametrize("platform", ["memory", "vcenter", "esxi", "ova"], indirect=True)
"""For tests of a disk that comes from its start only."""

RUNNING = pytest.mark.parametrize("platform", ["memory", "vcenter", "esxi", "vmx"], indirect=True)
"""For tests of what somebody else starts and stops."""


@pytest.fixture
def source(platform: Platform) -> Source:
    return platform.source


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


def decode(stream: ByteStream, capacity: int) -> bytes:
    disk = bytearray(capacity)
    reader = StreamReader(stream, capacity)
    for grain in reader:
        data = reader.inflate(grain)
        disk[grain.offset : grain.offset + len(data)] = data
    stream.close()
    return bytes(disk)


def test_inventory(platform: Platform, source: Source) -> None:
    vm_id = platform.add("web 1", on=True, disks=(4, 2))
    vm = next(vm for vm in source.inventory() if vm.id == vm_id)
    assert vm == source.vm(vm_id)
    assert (vm.name, vm.power_state, vm.tools) == ("web 1", PowerState.ON, "running")
    assert (vm.cpus, vm.memory_bytes) == (2, 1024 * MIB)
    assert [(disk.key, disk.capacity_bytes, disk.controller, disk.unit) for disk in vm.disks] == [
        (2000, 4 * MIB, "pvscsi", 0),
        (2001, 2 * MIB, "pvscsi", 1),
    ]
    (nic,) = vm.nics
    assert (nic.mac, nic.network, nic.adapter, nic.slot) == ("00:50:56:00:00:01", "VM Network", "vmxnet3", 192)
    assert nic.addresses == ("192.168.50.10/24",)


@EVERYWHERE
@pytest.mark.parametrize("name", ["../x", "-rf", "$(touch p)", "</name>", "a%2fb\\c", "ü" * 80])
def test_names_are_as_the_user_typed_them(platform: Platform, source: Source, name: str) -> None:
    assert source.vm(platform.add(name)).name == name


@EVERYWHERE
@pytest.mark.parametrize("vm_id", ["vm-99999", "../x", "<x/>", ""])
def test_an_unknown_vm(platform: Platform, source: Source, vm_id: str) -> None:
    with pytest.raises(NotFound):
        source.vm(vm_id)
    with pytest.raises(NotFound):
        source.power_state(vm_id)


def test_check_finds_nothing_wrong(source: Source) -> None:
    rows = source.check()
    assert [row for row in rows if not row.ok] == []
    assert {"reachable", "certificate", "login", "privilege VApp.Export"} <= {row.name for row in rows}


@pytest.mark.parametrize(
    "privilege", ["VApp.Export", "VirtualMachine.Interact.PowerOff", "VirtualMachine.Interact.PowerOn"]
)
def test_check_names_a_missing_privilege(platform: ManagedPlatform, source: Source, privilege: str) -> None:
    platform.deny(privilege)
    (row,) = [row for row in source.check() if not row.ok]
    assert row.name == f"privilege {privilege}"
    assert privilege in row.remedy


def test_a_call_without_its_privilege_names_it(platform: ManagedPlatform, source: Source) -> None:
    vm_id = platform.add("denied")
    platform.deny("VApp.Export")
    with pytest.raises(SourceDenied, match=r"VApp\.Export"), source.access(vm_id, "nfc", cancel=go_on):
        pass


@EVERYWHERE
def test_identity_and_clock(platform: Platform, source: Source) -> None:
    assert len(source.identity()) == 36
    now = source.now()
    assert now.tzinfo is UTC
    assert source.now() >= now


def test_shut_down_through_tools(platform: Platform, source: Source) -> None:
    vm_id = platform.add("obeys", on=True)
    source.shut_down(vm_id, force=False, timeout_s=30, cancel=go_on)
    assert platform.power_state(vm_id) is PowerState.OFF
    assert source.power_state(vm_id) is PowerState.OFF
    source.shut_down(vm_id, force=False, timeout_s=30, cancel=go_on)  # again: nothing to do


@pytest.mark.parametrize("trouble", [{"tools": False}, {"hangs": True}], ids=["no tools", "hangs"])
def test_a_hard_power_off_only_when_allowed(platform: Platform, source: Source, trouble: dict[str, bool]) -> None:
    vm_id = platform.add("stubborn", on=True, **trouble)
    with pytest.raises(ShutdownFailed) as caught:
        source.shut_down(vm_id, force=False, timeout_s=0.2, cancel=go_on)
    assert caught.value.remedy
    assert platform.power_state(vm_id) is PowerState.ON
    source.shut_down(vm_id, force=True, timeout_s=0.2, cancel=go_on)
    assert platform.power_state(vm_id) is PowerState.OFF


@pytest.mark.parametrize("stop", [Cancelled("stop"), Parked()], ids=["cancel", "park"])
def test_the_wait_for_a_shutdown_can_be_stopped(platform: Platform, source: Source, stop: BaseException) -> None:
    vm_id = platform.add("hangs", on=True, hangs=True)
    begun = time.monotonic()

    def cancel() -> None:
        if time.monotonic() - begun > 0.5:
            raise stop

    with pytest.raises(type(stop)):
        source.shut_down(vm_id, force=True, timeout_s=60, cancel=cancel)
    assert time.monotonic() - begun < 5
    assert platform.power_state(vm_id) is PowerState.ON


def test_power_on(platform: Platform, source: Source) -> None:
    vm_id = platform.add("starts")
    source.power_on(vm_id)
    assert platform.power_state(vm_id) is PowerState.ON
    source.power_on(vm_id)


@RUNNING
def test_started_since(platform: ManagedPlatform, source: Source) -> None:
    vm_id = platform.add("watched", on=True)
    before = source.now()
    assert source.started_since(vm_id, before)  # it is on
    platform.power_off(vm_id)
    off_since = source.now()
    assert not source.started_since(vm_id, off_since)
    platform.power_on(vm_id)
    platform.power_off(vm_id)
    assert source.started_since(vm_id, off_since)
    assert source.started_since(vm_id, off_since.astimezone().astimezone(UTC) - timedelta(seconds=1))
    assert not source.started_since(vm_id, source.now())


def test_annotate(platform: ManagedPlatform, source: Source) -> None:
    vm_id = platform.add("noted")
    for text in ('moved to <kvm> & "more"\nof it, ünïcode', ""):
        source.annotate(vm_id, text)
        assert platform.annotation(vm_id) == text
        assert source.vm(vm_id).annotation == text


@STREAMS
def test_export_gives_each_disk(platform: Platform, source: Source) -> None:
    vm_id = platform.add("exported", disks=(4, 2))
    with source.access(vm_id, platform.transport, cancel=go_on) as export:
        assert list(export.disk_keys) == [2000, 2001]
        export.report_percent(50)
        for disk in source.vm(vm_id).disks:
            assert decode(export.disk(disk.key).open_stream(), disk.capacity_bytes) == platform.raw(vm_id, disk.key)
        with pytest.raises(NotFound):
            export.disk(2009).open_stream()
    assert platform.open_leases(vm_id) == 0


@pytest.mark.parametrize("error", [None, ValueError("mine")], ids=["read", "error"])
def test_a_vm_can_be_started_after_its_export(platform: Platform, source: Source, error: Exception | None) -> None:
    vm_id = platform.add("let go")
    with suppress(ValueError), source.access(vm_id, platform.transport, cancel=go_on):
        assert platform.open_leases(vm_id) == 1
        if error is not None:
            raise error
    source.power_on(vm_id)


@STREAMS
def test_a_disk_can_be_read_twice(platform: Platform, source: Source) -> None:
    vm_id = platform.add("twice")
    with source.access(vm_id, platform.transport, cancel=go_on) as export:
        first = decode(export.disk(2000).open_stream(), 2 * MIB)
        assert decode(export.disk(2000).open_stream(), 2 * MIB) == first


# every way to the disks


def usable(source: Source, vm_id: str) -> list[str]:
    return [way.transport for way in source.ways(source.vm(vm_id)) if way.usable]


def content(disk: StreamDisk | RangeDisk, capacity: int) -> bytes:
    """All of a disk; of one in ranges only what may hold data is read."""
    if isinstance(disk, StreamDisk):
        return decode(disk.open_stream(), capacity)
    assert disk.capacity == capacity
    whole = bytearray(capacity)
    with closing(disk.open_reader()) as reader:
        for area in disk.areas():
            reader.start(area.offset, area.length)
            reader.fill(memoryview(whole)[area.offset : area.offset + area.length])
    return bytes(whole)


def begin(disk: StreamDisk | RangeDisk) -> None:
    """Read a sector of it."""
    if isinstance(disk, StreamDisk):
        disk.open_stream().readinto(memoryview(bytearray(512)))
        return
    reader = disk.open_reader()
    reader.start(0, MIB)
    reader.fill(memoryview(bytearray(512)))


@EVERYWHERE
def test_the_ways_are_told_best_first(platform: Platform, source: Source) -> None:
    ways = source.ways(source.vm(platform.add("ways")))
    assert {way.transport for way in ways if way.usable} == platform.transports
    assert sorted(ways, key=lambda way: not way.usable) == ways
    assert all(way.reason for way in ways)
    assert len({way.transport for way in ways}) == len(ways)


@EVERYWHERE
def test_each_way_gives_each_disk(platform: Platform, source: Source) -> None:
    vm_id = platform.add("all ways", disks=(4, 2))
    for transport in usable(source, vm_id):
        with source.access(vm_id, transport, cancel=go_on) as access:
            assert access.transport == transport
            assert access.connections >= 1
            assert list(access.disk_keys) == [2000, 2001]
            access.report_percent(50)
            for disk in source.vm(vm_id).disks:
                for _ in range(2):
                    assert content(access.disk(disk.key), disk.capacity_bytes) == platform.raw(vm_id, disk.key)
            with pytest.raises(NotFound):
                access.disk(2009)
        assert platform.open_leases(vm_id) == 0


@EVERYWHERE
def test_areas_are_in_order_and_apart(platform: Platform, source: Source) -> None:
    vm_id = platform.add("areas", disks=(4,))
    for transport in usable(source, vm_id):
        with source.access(vm_id, transport, cancel=go_on) as access:
            disk = access.disk(2000)
            if isinstance(disk, RangeDisk):
                areas = list(disk.areas())
                assert areas
                assert all(area.length > 0 for area in areas)
                assert all(one.offset + one.length < other.offset for one, other in pairwise(areas))
                assert areas[-1].offset + areas[-1].length <= disk.capacity


@EVERYWHERE
def test_another_content_has_another_identity(platform: Platform, source: Source) -> None:
    vm_id = platform.add("identity", disks=(2,))

    def identities() -> dict[str, str]:
        found: dict[str, str] = {}
        for transport in usable(source, vm_id):
            with source.access(vm_id, transport, cancel=go_on) as access:
                found[transport] = access.disk(2000).identity
        return found

    before = identities()
    assert identities() == before
    platform.change(vm_id, 2000)
    after = identities()
    assert after.keys() == before.keys()
    assert all(after[transport] != before[transport] for transport in after)


@EVERYWHERE
def test_several_connections_at_once(platform: Platform, source: Source) -> None:
    vm_id = platform.add("several", disks=(4,))
    for transport in usable(source, vm_id):
        with (
            source.access(vm_id, transport, cancel=go_on) as access,
            ThreadPoolExecutor(access.connections) as pool,
        ):
            disk = access.disk(2000)
            found = [pool.submit(content, disk, 4 * MIB) for _ in range(access.connections)]
            assert {future.result() for future in found} == {platform.raw(vm_id, 2000)}


@EVERYWHERE
def test_a_range_may_be_left_before_its_end(platform: Platform, source: Source) -> None:
    vm_id = platform.add("left", disks=(4,))
    raw = platform.raw(vm_id, 2000)
    for transport in usable(source, vm_id):
        with source.access(vm_id, transport, cancel=go_on) as access:
            disk = access.disk(2000)
            if isinstance(disk, RangeDisk):
                with closing(disk.open_reader()) as reader:
                    for offset, length in ((3 * MIB, MIB), (512, 2 * MIB), (1024, 512)):
                        reader.start(offset, length)
                        buffer = bytearray(512)
                        reader.fill(memoryview(buffer))
                        assert buffer == raw[offset : offset + 512]


def test_nothing_can_be_read_in_any_way_after_the_end(platform: Platform, source: Source) -> None:
    vm_id = platform.add("all over")
    for transport in usable(source, vm_id):
        with source.access(vm_id, transport, cancel=go_on) as access:
            disk = access.disk(2000)
            reader = None if isinstance(disk, StreamDisk) else disk.open_reader()
            if reader is not None:
                reader.start(0, MIB)
        with pytest.raises(LeaseExpired):
            content(disk, 2 * MIB)
        if reader is not None:
            with pytest.raises(LeaseExpired):
                reader.fill(memoryview(bytearray(512)))
            with pytest.raises(LeaseExpired):
                reader.start(0, 512)


@RUNNING
def test_no_way_to_a_running_vm_but_through_a_snapshot(platform: Platform, source: Source) -> None:
    vm_id = platform.add("way of a running one")
    transports = usable(source, vm_id)
    platform.power_on(vm_id)
    for transport in transports:
        with pytest.raises(SourceChanged), source.access(vm_id, transport, cancel=go_on):
            pass


# exports


@RUNNING
def test_no_export_of_a_running_vm(platform: Platform, source: Source) -> None:
    vm_id = platform.add("runs", on=True)
    with pytest.raises(SourceChanged), source.access(vm_id, platform.transport, cancel=go_on):
        pass
    assert platform.open_leases(vm_id) == 0


@EVERYWHERE
@pytest.mark.parametrize("error", [ValueError("mine"), Cancelled("stop"), Parked()], ids=["error", "cancel", "park"])
def test_an_exception_ends_the_lease_and_passes(platform: Platform, source: Source, error: BaseException) -> None:
    vm_id = platform.add("aborted")
    with pytest.raises(type(error)) as caught, source.access(vm_id, platform.transport, cancel=go_on) as export:  # noqa: PT012
        begin(export.disk(2000))
        raise error
    assert caught.value is error
    assert platform.open_leases(vm_id) == 0


@EVERYWHERE
def test_a_cancel_before_the_lease_is_ready_leaves_none(platform: Platform, source: Source) -> None:
    vm_id = platform.add("too late")

    def cancel() -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled), source.access(vm_id, platform.transport, cancel=cancel):
        pass
    assert platform.open_leases(vm_id) == 0


def test_an_expired_lease_shows_at_the_next_read(platform: ManagedPlatform, source: Source) -> None:
    vm_id = platform.add("expires", disks=(16,))
    with pytest.raises(LeaseExpired), source.access(vm_id, platform.transport, cancel=go_on) as export:  # noqa: PT012
        stream = export.disk(2000).open_stream()
        platform.expire_leases()
        buffer = memoryview(bytearray(4096))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            stream.readinto(buffer)
            time.sleep(0.001)
    assert platform.open_leases(vm_id) == 0


@STREAMS
def test_nothing_can_be_read_after_the_end(platform: Platform, source: Source) -> None:
    vm_id = platform.add("over")
    with source.access(vm_id, platform.transport, cancel=go_on) as export:
        stream = export.disk(2000).open_stream()
    with pytest.raises(LeaseExpired):
        stream.readinto(memoryview(bytearray(512)))
    with pytest.raises(LeaseExpired):
        export.disk(2000).open_stream()
