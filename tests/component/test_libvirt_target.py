"""The libvirt adapter against a real libvirtd: its schema, virtlogd, lost connections, pools that will not do."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest

from app.domain.errors import NoSpace, NotFound, TargetDenied, TargetUnavailable
from app.domain.hardware import NOT_SEEN, hardware_for
from app.domain.hardware.model import Hardware
from app.domain.host import Host
from app.domain.libvirt_xml import domain_xml
from app.domain.models import ImageOptions, TargetSpec
from tests.boot_sector import speaking
from tests.lab import virtio_win
from tests.libvirt_host import LibvirtHost
from tests.unit.moves import make_move, make_vm
from tests.unit.test_libvirt_xml import CASES
from workers.targets import open_target
from workers.targets.libvirt.connection import Connection
from workers.targets.libvirt.target import LibvirtTarget

MIB = 1 << 20
SPOKEN = b"VMFERRY-SERIAL"
COPY = """<volume><name>a-copy</name><capacity unit="bytes">2147483648</capacity>
<target><format type="qcow2"/></target></volume>"""


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    with LibvirtHost() as host:
        yield host


def open_on(host: LibvirtHost, **changes: Any) -> LibvirtTarget:
    fields = {"id": "t", "name": "t", "uri": host.uri, "pool": host.pool, "networks": {"*": host.network}}
    target = open_target(TargetSpec.model_validate(fields | changes), accelerator="tcg")
    assert isinstance(target, LibvirtTarget)
    return target


@pytest.fixture
def target(host: LibvirtHost) -> Iterator[LibvirtTarget]:
    target = open_on(host)
    yield target
    for domain in host.domains():
        with suppress(libvirt.libvirtError):
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    target.serial_log(f"vmferry-{host.pool}").unlink(missing_ok=True)
    target.close()


def hardware(
    target: LibvirtTarget,
    host: LibvirtHost,
    path: Path,
    options: dict[str, Any] | None = None,
    host_facts: Host = NOT_SEEN,
    **vm: Any,
) -> Hardware:
    name = vm.get("name", host.pool)  # of its own: another run may be on this machine
    machine = make_vm(disks=make_vm().disks[:1], memory_bytes=64 * MIB, cpus=1, cores_per_socket=1, **vm)
    return hardware_for(
        make_move(machine, **{"networks": {"*": host.network}, "target_name": name} | (options or {})),
        disk_paths=[str(path)],
        domain_uuid=str(uuid.uuid4()),
        accelerator="tcg",
        serial_log=str(target.serial_log(f"vmferry-{host.pool}")),
        host=host_facts,
    )


@pytest.mark.parametrize("case", CASES)
def test_libvirts_schema_takes_the_golden_domains(case: str, host: LibvirtHost, target: LibvirtTarget) -> None:
    name = f"vmferry-schema-{host.pool}"
    hw = CASES[case].model_copy(update={"uuid": str(uuid.uuid4()), "name": name, "accelerator": "tcg"})
    domain = host.connection.defineXMLFlags(domain_xml(hw), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def test_many_disks_are_on_one_controller_of_virtio(host: LibvirtHost, target: LibvirtTarget) -> None:
    name = f"vmferry-many-{host.pool}"
    hw = CASES["many_disks"].model_copy(update={"uuid": str(uuid.uuid4()), "name": name, "accelerator": "tcg"})
    domain = host.connection.defineXMLFlags(domain_xml(hw), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    models = re.findall("<controller type='scsi' index='[0-9]+' model='([^']*)'", domain.XMLDesc())
    domain.undefine()
    assert models == ["virtio-scsi"]


def test_what_the_guest_says_on_its_serial_port_is_in_the_log(host: LibvirtHost, target: LibvirtTarget) -> None:
    path = target.create_volume("vmferry-serial-0.qcow2", MIB)
    sector = host.pool_path / "sector.raw"
    sector.write_bytes(speaking(SPOKEN))
    subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", sector, path], check=True)
    hw = hardware(target, host, path)
    log = Path(hw.serial_log)
    log.write_bytes(b"from an earlier start")
    target.define(hw)
    target.start(hw.uuid)
    deadline = time.monotonic() + 60
    while SPOKEN not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_bytes()
        time.sleep(0.2)
    assert b"earlier" not in log.read_bytes()
    assert path.stat().st_uid != 0  # libvirt gave it to QEMU's user
    picture = target.screenshot(hw.uuid)
    assert min(struct.unpack(">II", picture[16:24])) >= 320
    target.stop(hw.uuid)
    target.delete_volume(path.name)


def test_a_domain_of_its_own_cpus_and_memory_starts(host: LibvirtHost, target: LibvirtTarget) -> None:
    """All that the profile latency asks for but huge pages, which are the host's to reserve, and locked memory, which a
    daemon in a container may not be allowed.
    """
    path = target.create_volume("vmferry-latency-0.qcow2", MIB)
    facts = target.facts()
    hw = hardware(target, host, path, options={"profile": "latency"}, host_facts=facts.host)
    assert hw.pins
    assert hw.io_threads == 1
    target.define(hw.model_copy(update={"memory_pages_kib": (), "memory_locked": False}))
    target.start(hw.uuid)
    domain = host.connection.lookupByUUIDString(hw.uuid)
    cpus = domain.vcpuPinInfo()[0]
    assert [number for number, on in enumerate(cpus) if on] == list(hw.pins)
    assert domain.numaParameters()["numa_nodeset"] == "0"
    (found,) = [known for known in target.facts().domains if known.uuid == hw.uuid]
    assert found.pinned == hw.pins


@pytest.mark.parametrize(
    ("options", "vm", "words"),
    [
        ({"profile": "density"}, {}, ('"free-page-reporting":true', '"deflate-on-oom":true')),
        ({"converter": "compat"}, {"sound": True, "cdroms": 1}, ("ich9-intel-hda", "ide-cd")),
        ({}, {"memory_limit_bytes": 32 * MIB, "cpu_shares": 500, "cpu_limit_mhz": 500, "host_mhz": 1000}, ()),
    ],
)
def test_what_is_defined_starts(
    options: dict[str, Any], vm: dict[str, Any], words: tuple[str, ...], host: LibvirtHost, target: LibvirtTarget
) -> None:
    hw = hardware(target, host, target.create_volume("vmferry-start-0.qcow2", MIB), options=options, **vm)
    target.define(hw)
    target.start(hw.uuid)
    said = Path(f"/var/log/libvirt/qemu/{hw.name}.log").read_text().rpartition("starting up")[2]
    assert all(word in said for word in words), said
    target.stop(hw.uuid)


def test_cpus_and_memory_can_be_added_while_it_runs(host: LibvirtHost, target: LibvirtTarget) -> None:
    path = target.create_volume("vmferry-room-0.qcow2", MIB)
    hw = hardware(target, host, path, cpu_hot_add=True, memory_hot_add=True)
    target.define(hw)
    target.start(hw.uuid)
    domain = host.connection.lookupByUUIDString(hw.uuid)
    domain.setVcpusFlags(2, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    domain.attachDeviceFlags(
        "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>",
        libvirt.VIR_DOMAIN_AFFECT_LIVE,
    )
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 2
    assert domain.info()[1] * 1024 == hw.memory_bytes + 128 * MIB
    target.stop(hw.uuid)


@pytest.fixture
def bridge() -> Iterator[str]:
    """A Linux bridge with a dummy card's end of it, which macvtap can take."""
    for arguments in (
        ["add", "vmf-test-br", "mtu", "9000", "type", "bridge"],
        ["add", "vmf-test-a", "type", "veth", "peer", "name", "vmf-test-b"],
    ):
        subprocess.run(["ip", "link", *arguments], check=True)
    for name in ("vmf-test-br", "vmf-test-a"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield "vmf-test-br"
    for name in ("vmf-test-br", "vmf-test-a"):
        subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.mark.parametrize("text", ["bridge:vmf-test-br", "macvtap:vmf-test-a"])
def test_a_card_starts_on_what_the_map_says(text: str, bridge: str, host: LibvirtHost, target: LibvirtTarget) -> None:
    facts = target.facts()
    assert facts.host.bridges[bridge] == 9000
    assert facts.host.cards["vmf-test-a"] == 1500
    assert all(check.ok for check in open_on(host, networks={"*": text}).check())
    path = target.create_volume("vmferry-net-0.qcow2", MIB)
    hw = hardware(target, host, path, options={"networks": {"*": text}}, nics=make_vm().nics[:1])
    target.define(hw)
    target.start(hw.uuid)
    xml = host.connection.lookupByUUIDString(hw.uuid).XMLDesc()
    device = xml.split("<target dev='")[2].split("'")[0]
    assert (Path("/sys/class/net") / device / "master").exists() is text.startswith("bridge")
    if text.startswith("bridge"):
        assert (Path("/sys/class/net") / device / "mtu").read_text().strip() == "9000"  # libvirt's: the bridge's
    target.stop(hw.uuid)


def test_facts_tell_of_the_hosts_nodes(target: LibvirtTarget) -> None:
    facts = target.facts()
    cpus = sorted(cpu for node in facts.host.nodes for cpu in node.cpus)
    assert cpus == sorted(os.sched_getaffinity(0))
    assert sum(node.memory_bytes for node in facts.host.nodes) > 1 << 30
    assert facts.host.ksm in ("on", "off", "missing")


@pytest.mark.parametrize("name", ["$(touch p)", "-rf", "<name>", "ü" * 80, 'a "b" & <c>'])
def test_hostile_names_are_names(name: str, host: LibvirtHost, target: LibvirtTarget) -> None:
    hw = hardware(target, host, target.create_volume("vmferry-names-0.qcow2", MIB), name=name)
    assert target.define(hw).name == name
    target.undefine(hw.uuid)


@pytest.mark.parametrize("name", ["a/b", "../x", "</name>", "a\nb"])
def test_names_that_libvirt_refuses_are_refused_clearly(name: str, host: LibvirtHost, target: LibvirtTarget) -> None:
    hw = hardware(target, host, target.create_volume("vmferry-names-0.qcow2", MIB), name=name)
    with pytest.raises(TargetDenied, match="name"):
        target.define(hw)


def sockets() -> dict[str, int]:
    """socket:[inode] → file descriptor of this process."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found[os.readlink(entry)] = int(entry.name)
    return {link: number for link, number in found.items() if link.startswith("socket:")}


def test_a_lost_connection_is_opened_again_once(host: LibvirtHost) -> None:
    connection = Connection(host.uri)
    before = sockets()
    lost: list[Any] = []

    def cut(handle: Any) -> None:
        """What a libvirtd that ends does to us: it closes its end."""
        for link, number in sockets().items():
            if link not in before:
                with socket.socket(fileno=os.dup(number)) as sock:
                    sock.shutdown(socket.SHUT_RDWR)
        lost.append(handle)

    def act(handle: Any) -> int:
        if not lost:
            cut(handle)
        return int(handle.getVersion())

    assert connection.call(act) > 0
    with pytest.raises(TargetUnavailable):
        connection.call(lambda handle: (cut(handle), handle.getVersion()))
    assert connection.call(act) > 0
    connection.close()


def test_a_daemon_that_is_not_there() -> None:
    spec = TargetSpec(id="t", name="t", uri="qemu+unix:///system?socket=/nowhere/libvirt-sock")
    target = open_target(spec)
    with pytest.raises(TargetUnavailable):
        target.facts()
    checks = target.check()
    assert [(check.name, check.ok) for check in checks] == [("reachable", False)]
    assert checks[0].remedy


def test_checks_name_what_is_wrong(host: LibvirtHost) -> None:
    target = open_on(host, pool="no-such-pool", networks={"*": "no-such-network"})
    wrong = {check.name: check.detail for check in target.check() if not check.ok}
    assert set(wrong) == {"pool no-such-pool", "network no-such-network"}
    with pytest.raises(NotFound):
        target.create_volume("vmferry-x-0.qcow2", MIB)
    target.close()


def test_a_pool_without_room_says_where(small_file_system: Path) -> None:
    with LibvirtHost(small_file_system) as host:
        target = open_on(host)
        with pytest.raises(NoSpace) as caught:
            target.create_volume("vmferry-l-0.raw", 64 * MIB, ImageOptions(format="raw", preallocation="falloc"))
        assert caught.value.fields["path"] == str(host.pool_path / "vmferry-l-0.raw")
        assert target.volumes("vmferry-l-") == []
        target.close()


def test_an_inactive_pool_is_refused(host: LibvirtHost, target: LibvirtTarget) -> None:
    pool = host.connection.storagePoolLookupByName(host.pool)
    pool.destroy()
    try:
        assert any(check.name == f"pool {host.pool}" and not check.ok for check in target.check())
        with pytest.raises(TargetDenied, match="not active"):
            target.volumes("vmferry-")
    finally:
        pool.create()


@pytest.mark.parametrize("image", [ImageOptions(), ImageOptions(format="raw", preallocation="falloc")])
def test_volumes_are_private(target: LibvirtTarget, image: ImageOptions) -> None:
    path = target.create_volume("vmferry-mode-0.img", MIB, image)
    assert path.stat().st_mode & 0o077 == 0
    target.delete_volume(path.name)


def test_volumes_come_and_go_while_others_are_made(host: LibvirtHost, target: LibvirtTarget) -> None:
    source = target.create_volume("vmferry-j1-0.qcow2", 2048 * MIB)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512M", str(source)], check=True, capture_output=True)
    done = threading.Event()

    def copy_again_and_again() -> None:
        connection = libvirt.open(host.uri)
        pool = connection.storagePoolLookupByName(host.pool)
        known = pool.storageVolLookupByName(source.name)
        while not done.is_set():
            pool.createXMLFrom(COPY, known, 0).delete(0)
        connection.close()

    with ThreadPoolExecutor(1) as other:
        copying = other.submit(copy_again_and_again)
        try:
            for _ in range(20):
                target.create_volume("vmferry-j2-0.qcow2", MIB)
                (host.pool_path / "vmferry-j2-1.qcow2").touch()  # as an overlay is made: libvirt does not know it
                for volume in target.volumes("vmferry-j2-"):
                    target.delete_volume(volume)
                assert target.volumes("vmferry-j2-") == []
        finally:
            done.set()
        copying.result()


def test_the_room_in_a_pool_is_that_of_now(host: LibvirtHost, target: LibvirtTarget) -> None:
    before = target.facts().pool(host.pool)
    subprocess.run(["fallocate", "--length", "1G", host.pool_path / "large"], check=True)
    after = target.facts().pool(host.pool)
    (host.pool_path / "large").unlink()
    assert before is not None
    assert after is not None
    assert before.free_bytes - after.free_bytes > 512 * MIB  # others write beside us


def test_what_is_at_hand_for_windows_is_among_the_facts(host: LibvirtHost, tmp_path: Path) -> None:
    folder = virtio_win.make_folder(tmp_path / "virtio-win", systems=["2k19/amd64"])
    spec = TargetSpec(id="t", name="t", uri=host.uri, pool=host.pool)
    target = open_target(spec, accelerator="tcg", virtio_win=folder)
    facts = target.facts()
    target.close()
    assert facts.tools["virtio-win"] == str(folder)
    assert facts.windows.drivers == ("2k19/amd64",)
