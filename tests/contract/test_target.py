"""What every Target does, in memory and on libvirt."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import libvirt
import pytest

from app.domain.errors import Cancelled, Conflict, DomainExists, InvalidRequest, NotFound, TargetDenied
from app.domain.hardware import hardware_for
from app.domain.hardware.model import Hardware
from app.domain.models import Domain, ImageOptions, TargetSpec
from app.ports.target import Target
from converters import qcow2
from tests.contract.memory.target import MemoryTarget
from tests.libvirt_host import LibvirtHost
from tests.unit.moves import make_move, make_vm
from workers.targets import open_target

MIB = 1 << 20


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    with LibvirtHost() as host:
        yield host


class Platform:
    """A target, and how somebody else acts on it."""

    def __init__(self, target: Target, host: LibvirtHost | None) -> None:
        self.target = target
        self._host = host

    def hardware(self, path: Path | None = None, **changes: Any) -> Hardware:
        """A small domain of job j1; with no disk unless there is a path."""
        vm = make_vm(disks=make_vm().disks[: 1 if path else 0], memory_bytes=64 * MIB, cpus=1, cores_per_socket=1)
        network = self._host.network if self._host else "default"
        move = make_move(vm, networks={"*": network})
        found = hardware_for(
            move,
            disk_paths=[str(path)] if path else [],
            domain_uuid=str(uuid.uuid4()),
            accelerator="tcg",
            serial_log=str(self.target.serial_log("vmferry-contract")) if path else "",
        )
        return found.model_copy(update={"name": f"vmferry-contract-{os.getpid()}", **changes})

    def add_foreign(self) -> Domain:
        """A domain that vmferry did not make."""
        domain = Domain(uuid=str(uuid.uuid4()), name=f"vmferry-foreign-{os.getpid()}")
        if isinstance(self.target, MemoryTarget):
            self.target.add_foreign(domain)
        elif self._host:
            self._host.connection.defineXML(
                f"<domain type='qemu'><name>{domain.name}</name><uuid>{domain.uuid}</uuid><memory>65536</memory>"
                "<os><type arch='x86_64'>hvm</type></os></domain>"
            )
        return domain

    def is_isolated(self, hardware: Hardware) -> bool:
        """Whether it runs on no network of its own; its definition names them all the time."""
        if isinstance(self.target, MemoryTarget):
            return hardware.uuid in self.target.isolated
        assert self._host
        domain = self._host.connection.lookupByUUIDString(hardware.uuid)
        running, defined = (
            [source.get("network") for source in ElementTree.fromstring(domain.XMLDesc(flag)).iter("source")]
            for flag in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)
        )
        assert self._host.network in defined
        return not set(running) & set(defined) - {None}

    def clean(self) -> None:
        if self._host:
            for domain in self._host.connection.listAllDomains():
                if domain.name().endswith(f"-{os.getpid()}"):
                    if domain.isActive():
                        domain.destroy()
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            self.target.serial_log("vmferry-contract").unlink(missing_ok=True)


@pytest.fixture(params=["memory", "libvirt"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    if request.param == "memory":
        yield Platform(MemoryTarget(tmp_path), None)
        return
    host: LibvirtHost = request.getfixturevalue("host")
    spec = TargetSpec(id="t", name="t", uri=host.uri, pool=host.pool, networks={"*": host.network})
    platform = Platform(open_target(spec, accelerator="tcg"), host)
    yield platform
    platform.clean()
    platform.target.close()


@pytest.fixture
def target(platform: Platform) -> Target:
    return platform.target


def test_a_volume_is_an_empty_qcow2_of_its_size(target: Target) -> None:
    path = target.create_volume("vmferry-a-0.qcow2", 8 * MIB + 512)
    assert path.name == "vmferry-a-0.qcow2"
    assert qcow2.info(path)["virtual-size"] == 8 * MIB + 512
    assert qcow2.allocated(path) < MIB
    assert os.access(path, os.R_OK | os.W_OK)
    assert target.volume_path("vmferry-a-0.qcow2") == path
    target.delete_volume("vmferry-a-0.qcow2")
    assert target.volume_path("vmferry-a-0.qcow2") is None
    assert not path.exists()


@pytest.mark.parametrize(
    ("format", "preallocation"),
    [
        ("qcow2", "off"),
        ("qcow2", "metadata"),
        ("qcow2", "falloc"),
        ("qcow2", "full"),
        ("raw", "off"),
        ("raw", "falloc"),
        ("raw", "full"),
    ],
)
def test_a_volume_is_made_as_asked(target: Target, format: Literal["qcow2", "raw"], preallocation: Any) -> None:
    name = f"vmferry-i-0.{format}"
    path = target.create_volume(name, 8 * MIB + 512, ImageOptions(format=format, preallocation=preallocation))
    assert qcow2.info(path, format)["virtual-size"] == 8 * MIB + 512
    assert (qcow2.allocated(path) >= 8 * MIB) is (preallocation in ("falloc", "full"))
    assert os.access(path, os.R_OK | os.W_OK)
    assert target.volume_path(name) == path
    target.delete_volume(name)
    assert target.volumes("vmferry-i-") == []


@pytest.mark.parametrize("kib", [4, 2048])
def test_a_volume_has_the_clusters_asked_for(target: Target, kib: Any) -> None:
    path = target.create_volume("vmferry-k-0.qcow2", 8 * MIB, ImageOptions(cluster_kib=kib))
    assert qcow2.info(path)["cluster-size"] == kib << 10
    target.delete_volume(path.name)


def test_a_volume_that_takes_long_to_make_can_be_given_up(target: Target) -> None:
    def cancel() -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        target.create_volume(
            "vmferry-l-0.raw", 4096 * MIB, ImageOptions(format="raw", preallocation="full"), cancel=cancel
        )
    assert target.volumes("vmferry-l-") == []


def test_a_volume_of_that_name_is_replaced_whoever_made_it(target: Target) -> None:
    path = target.create_volume("vmferry-b-0.qcow2", MIB)
    path.write_bytes(b"rubbish")
    assert qcow2.info(target.create_volume("vmferry-b-0.qcow2", 2 * MIB))["virtual-size"] == 2 * MIB
    path.with_name("vmferry-b-1.qcow2").write_bytes(b"from outside")
    assert qcow2.info(target.create_volume("vmferry-b-1.qcow2", 2 * MIB))["virtual-size"] == 2 * MIB
    for name in target.volumes("vmferry-b-"):
        target.delete_volume(name)


def test_volumes_are_listed_as_the_folder_has_them(target: Target) -> None:
    path = target.create_volume("vmferry-c-0.qcow2", MIB)
    target.create_volume("vmferry-cc-0.qcow2", MIB)
    path.with_name("vmferry-c-0.overlay.qcow2").write_bytes(b"")
    assert target.volumes("vmferry-c-") == ["vmferry-c-0.overlay.qcow2", "vmferry-c-0.qcow2"]
    for name in target.volumes("vmferry-c"):
        target.delete_volume(name)
    assert target.volumes("vmferry-c") == []
    target.delete_volume("vmferry-c-0.qcow2")


@pytest.mark.parametrize("name", ["../x", "a/b", "-rf", "", "..", "a b", "$(touch p)"])
def test_names_of_volumes_are_plain(target: Target, name: str) -> None:
    for call in (
        lambda: target.create_volume(name, MIB),
        lambda: target.delete_volume(name),
        lambda: target.serial_log(name),
    ):
        with pytest.raises(InvalidRequest):
            call()


def test_a_domain_is_defined_once_and_found(platform: Platform, target: Target) -> None:
    hardware = platform.hardware()
    assert target.find_domain(uuid=hardware.uuid) is None
    wanted = Domain(uuid=hardware.uuid, name=hardware.name, running=False, job="j1")
    assert target.define(hardware) == wanted
    assert target.define(hardware.model_copy(update={"memory_bytes": 128 * MIB})) == wanted
    assert target.find_domain(uuid=hardware.uuid) == target.find_domain(name=hardware.name) == wanted
    assert [domain for domain in target.facts().domains if domain.name == hardware.name] == [wanted]
    target.undefine(hardware.uuid)
    assert target.find_domain(uuid=hardware.uuid) is None
    target.undefine(hardware.uuid)


def test_a_name_or_uuid_in_use_is_refused(platform: Platform, target: Target) -> None:
    foreign = platform.add_foreign()
    for taken in ({"name": foreign.name}, {"uuid": foreign.uuid}):
        with pytest.raises(DomainExists):
            target.define(platform.hardware(**taken))
    hardware = platform.hardware()
    target.define(hardware)
    with pytest.raises(DomainExists):
        target.define(hardware.model_copy(update={"job_id": "j2"}))
    assert target.find_domain(uuid=foreign.uuid) == foreign


def test_what_is_not_ours_is_left_alone(platform: Platform, target: Target) -> None:
    foreign = platform.add_foreign()
    for call in (target.undefine, target.start, target.screenshot, target.agent_answers):
        with pytest.raises(TargetDenied):
            call(foreign.uuid)
    assert target.find_domain(uuid=foreign.uuid) == foreign


def test_a_domain_starts_shows_its_console_and_stops(platform: Platform, target: Target) -> None:
    hardware = platform.hardware(target.create_volume("vmferry-d-0.qcow2", MIB))
    target.define(hardware)
    with pytest.raises(NotFound):
        target.screenshot(hardware.uuid)
    for _ in range(2):
        target.start(hardware.uuid)
    found = target.find_domain(uuid=hardware.uuid)
    assert found is not None
    assert found.running
    assert target.screenshot(hardware.uuid).startswith(b"\x89PNG\r\n\x1a\n")
    assert target.agent_answers(hardware.uuid) is False
    assert target.addresses(hardware.uuid) == {}
    with pytest.raises(Conflict):
        target.undefine(hardware.uuid)
    for _ in range(2):
        target.stop(hardware.uuid)
    assert target.shut_down(hardware.uuid, 1) is True
    target.undefine(hardware.uuid)
    target.stop(hardware.uuid)
    assert target.volumes("vmferry-d-") == ["vmferry-d-0.qcow2"]
    target.delete_volume("vmferry-d-0.qcow2")


def test_a_domain_that_starts_isolated_is_connected_later(platform: Platform, target: Target) -> None:
    hardware = platform.hardware()
    target.define(hardware)
    target.start(hardware.uuid, isolated=True)
    assert platform.is_isolated(hardware)
    target.start(hardware.uuid)
    assert platform.is_isolated(hardware)  # what runs stays where it is
    for _ in range(2):
        target.connect(hardware.uuid)
        assert not platform.is_isolated(hardware)
    target.start(hardware.uuid, isolated=True)
    assert not platform.is_isolated(hardware)
    assert target.ask_agent(hardware.uuid) == {}
    target.stop(hardware.uuid)
    target.start(hardware.uuid)
    assert not platform.is_isolated(hardware)
    target.stop(hardware.uuid)


def test_a_guest_that_does_not_listen_is_not_off(platform: Platform, target: Target) -> None:
    hardware = platform.hardware()
    target.define(hardware)
    target.start(hardware.uuid)
    if isinstance(target, MemoryTarget):
        target.guests_obey = False
    assert target.shut_down(hardware.uuid, 1) is False
    target.stop(hardware.uuid)


def test_there_is_no_such_domain(target: Target) -> None:
    for call in (target.start, target.connect, target.screenshot, target.agent_answers, target.addresses):
        with pytest.raises(NotFound):
            call(str(uuid.uuid4()))


def test_facts_and_checks(target: Target) -> None:
    facts = target.facts()
    assert facts.hypervisor
    assert facts.tools["virt-v2v-in-place"]
    assert any(pool.active and pool.type == "dir" and pool.free_bytes for pool in facts.pools)
    assert facts.networks
    assert all(check.ok for check in target.check())
