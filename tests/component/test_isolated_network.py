"""A domain that boots from its network card says nothing on its real network before it is connected to it.

Its firmware asks for an address by DHCP from the first second on: what is heard on a bridge is heard by AF_PACKET.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest

from app.domain.hardware import hardware_for
from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml import domain_xml
from app.domain.models import TargetSpec
from tests.libvirt_host import BRIDGE, LibvirtHost
from tests.unit.moves import make_move, make_vm
from workers.targets import open_target
from workers.targets.libvirt import cards, frames
from workers.targets.libvirt.target import LibvirtTarget

MIB = 1 << 20
MAC = "00:50:56:8a:77:01"
ADDRESS = "192.168.50.77"
PATIENCE_S = 90.0  # of firmware without KVM, on a busy machine


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    with LibvirtHost() as host:
        yield host


@pytest.fixture
def target(host: LibvirtHost) -> Iterator[LibvirtTarget]:
    spec = TargetSpec(id="t", name="t", uri=host.uri, pool=host.pool, networks={"*": host.network})
    target = open_target(spec, accelerator="tcg")
    assert isinstance(target, LibvirtTarget)
    yield target
    for domain in host.domains():
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    target.close()


@pytest.fixture
def talker(host: LibvirtHost, target: LibvirtTarget) -> Hardware:
    return define_talker(host, target, host.network)


def define_talker(host: LibvirtHost, target: LibvirtTarget, network: str) -> Hardware:
    """A domain that boots from its card, which is all that it has."""
    path = target.create_volume("vmferry-talker-0.qcow2", MIB)
    nic = make_vm().nics[0].model_copy(update={"mac": MAC})
    vm = make_vm(disks=make_vm().disks[:1], nics=(nic,), memory_bytes=64 * MIB, cpus=1, cores_per_socket=1)
    hardware = hardware_for(
        make_move(vm, networks={"*": network}, target_name=f"vmferry-talker-{host.pool}"),
        disk_paths=[str(path)],
        domain_uuid=str(uuid.uuid4()),
        accelerator="tcg",
    )
    root = ElementTree.fromstring(domain_xml(hardware))
    for device in root.iterfind("devices/disk"):
        device.remove(device.find("boot"))  # type: ignore[arg-type]
    card = root.find("devices/interface")
    assert card is not None
    ElementTree.SubElement(card, "boot", order="1")
    host.connection.defineXML(ElementTree.tostring(root, encoding="unicode"))
    return hardware


@pytest.fixture
def on_the_wire(host: LibvirtHost) -> Iterator[socket.socket]:
    """All that passes on the bridge of the real network."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind((BRIDGE, 0))
        ear.setblocking(False)
        yield ear


def until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := seen()):
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.2)
    return found


def said(ear: socket.socket) -> list[bytes]:
    """The frames since the last look that come from our card."""
    found = []
    while True:
        try:
            frame = ear.recv(2048)
        except BlockingIOError:
            return found
        if frame[6:12] == bytes.fromhex(MAC.replace(":", "")):
            found.append(frame)


def networks(domain: Any, flags: int = 0) -> list[str]:
    sources = ElementTree.fromstring(domain.XMLDesc(flags)).iterfind("devices/interface/source")
    return [source.get("network", "") for source in sources]


def test_nothing_is_said_on_the_real_network_before_it_is_connected(
    host: LibvirtHost, target: LibvirtTarget, talker: Hardware, on_the_wire: socket.socket
) -> None:
    domain = host.connection.lookupByUUIDString(talker.uuid)
    assert target.start(talker.uuid, isolated=True) == ()
    assert networks(domain) == [cards.NETWORK]
    assert networks(domain, libvirt.VIR_DOMAIN_XML_INACTIVE) == [host.network]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind((cards.BRIDGE, 0))
        ear.setblocking(False)
        until(lambda: said(ear))
    assert said(on_the_wire) == []
    port = ElementTree.fromstring(domain.XMLDesc()).find("devices/interface/target")
    assert port is not None
    flag = Path(f"/sys/class/net/{port.get('dev')}/brport/isolated")
    assert flag.read_text().strip() == "1"  # two guests that are there at once do not meet

    target.start(talker.uuid, isolated=True)  # as a worker does that takes the job over
    assert networks(domain) == [cards.NETWORK]
    target.connect(talker.uuid)
    assert networks(domain) == networks(domain, libvirt.VIR_DOMAIN_XML_INACTIVE) == [host.network]
    assert flag.read_text().strip() == "0"
    domain.reset()  # for the firmware to ask again
    until(lambda: said(on_the_wire))
    target.connect(talker.uuid)
    assert networks(domain) == [host.network]
    target.stop(talker.uuid)


def test_what_a_killed_worker_started_is_isolated_before_it_goes_on(
    host: LibvirtHost, target: LibvirtTarget, talker: Hardware, on_the_wire: socket.socket
) -> None:
    domain = host.connection.lookupByUUIDString(talker.uuid)
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    assert networks(domain) == [host.network]
    target.start(talker.uuid, isolated=True)
    assert networks(domain) == [cards.NETWORK]
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert said(on_the_wire) == []
    target.stop(talker.uuid)


def links(domain: Any) -> list[str]:
    found = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/interface")
    return ["up" if (link := card.find("link")) is None else link.get("state", "") for card in found]


@pytest.fixture
def impostor(host: LibvirtHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A network of the name that we look for, made otherwise by somebody: the host has an address on it."""
    name = f"vmferry-impostor-{os.getpid()}"
    network = host.connection.networkCreateXML(
        f"<network><name>{name}</name><dns enable='no'/><ip address='192.168.51.1' prefix='24'/></network>"
    )
    monkeypatch.setattr(cards, "NETWORK", name)
    yield name
    network.destroy()


def test_without_an_isolated_network_the_cards_have_no_link(
    host: LibvirtHost, target: LibvirtTarget, talker: Hardware, on_the_wire: socket.socket, impostor: str
) -> None:
    domain = host.connection.lookupByUUIDString(talker.uuid)
    told = target.start(talker.uuid, isolated=True)
    assert len(told) == 1
    assert f"{MAC} is without a link until the check has passed: the network {impostor} is not isolated" in told[0]
    assert networks(domain) == [host.network]
    assert links(domain) == ["down"]
    time.sleep(10)
    assert said(on_the_wire) == []
    target.connect(talker.uuid)
    assert links(domain) == ["up"]
    target.stop(talker.uuid)


@contextmanager
def neighbour(bridge: str) -> Iterator[None]:
    """A machine with our MAC and address on a bridge: a network namespace, so a real kernel that answers."""
    name, outside = f"vmferry-{os.getpid()}", f"vmf{os.getpid()}"
    commands = (
        f"ip netns add {name}",
        f"ip link add {outside} type veth peer name eth0 netns {name}",
        f"ip link set {outside} master {bridge} up",
        f"ip -n {name} link set eth0 address {MAC} up",
        f"ip -n {name} address add {ADDRESS}/24 dev eth0",
    )
    try:
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def test_who_has_an_address_is_made_to_answer_and_is_heard(target: LibvirtTarget, talker: Hardware) -> None:
    target.start(talker.uuid, isolated=True)
    with closing(frames.Ear(cards.BRIDGE)) as ear, neighbour(cards.BRIDGE):
        assert ear.heard(MAC) == []
        until(lambda: (ear.ask_for(f"{ADDRESS}/24"), ear.heard(MAC))[1])
        assert ear.heard(MAC) == [ADDRESS]
        assert target.addresses(talker.uuid) == {MAC: [ADDRESS]}
    target.stop(talker.uuid)


def test_a_card_on_a_bridge_of_the_hosts_is_moved_too(
    host: LibvirtHost, target: LibvirtTarget, on_the_wire: socket.socket
) -> None:
    talker = define_talker(host, target, f"bridge:{BRIDGE}")
    domain = host.connection.lookupByUUIDString(talker.uuid)
    assert target.start(talker.uuid, isolated=True) == ()
    assert networks(domain) == [cards.NETWORK]
    time.sleep(5)
    assert said(on_the_wire) == []
    target.connect(talker.uuid)
    source = ElementTree.fromstring(domain.XMLDesc()).find("devices/interface/source")
    assert source is not None
    assert source.get("bridge") == BRIDGE
    domain.reset()
    until(lambda: said(on_the_wire))
    target.stop(talker.uuid)


@pytest.fixture
def device() -> Iterator[str]:
    """A network device for macvtap."""
    name = f"vmfd{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True)


def test_a_card_that_cannot_be_moved_has_no_link(host: LibvirtHost, target: LibvirtTarget, device: str) -> None:
    talker = define_talker(host, target, f"macvtap:{device}")
    domain = host.connection.lookupByUUIDString(talker.uuid)
    (told,) = target.start(talker.uuid, isolated=True)
    assert f"the card {MAC} is without a link until the check has passed" in told
    assert links(domain) == ["down"]
    target.connect(talker.uuid)
    assert links(domain) == ["up"]
    target.stop(talker.uuid)


def test_where_nobody_may_listen_that_is_told(
    target: LibvirtTarget, talker: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(frames, "Ear", forbidden)
    (told,) = target.start(talker.uuid, isolated=True)
    assert told.startswith(f"the bridge {cards.BRIDGE} cannot be listened on")
    assert target.addresses(talker.uuid) == {}
    target.stop(talker.uuid)
