"""The parts of the libvirt adapter that need no libvirt."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import libvirt
import pytest

from app.domain.errors import DomainExists, InvalidRequest, NoSpace, NotFound, TargetDenied, TargetUnavailable
from app.domain.host import HostNode
from app.domain.models import TargetSpec
from workers.targets import open_target
from workers.targets.libvirt import cards, host, pools, target
from workers.targets.libvirt.errors import translate
from workers.targets.libvirt.frames import request, sender
from workers.targets.libvirt.picture import as_png
from workers.targets.libvirt.pools import check_name


@pytest.mark.parametrize(
    "uri", ["qemu+ssh://host/system", "qemu+tls://host/system", "qemu://host/system", "qemu+ext:///system?command=/x"]
)
def test_remote_targets_are_refused_with_the_reason(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="remote to every worker until the fleet exists"):
        open_target(TargetSpec(id="t", name="t", uri=uri))


@pytest.mark.parametrize("uri", ["xen:///system", "test:///default", "", "/etc/passwd"])
def test_other_drivers_are_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="not a QEMU"):
        open_target(TargetSpec(id="t", name="t", uri=uri))


def test_serial_logs_are_where_virtlogd_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    target = open_target(TargetSpec(id="t", name="t"))
    assert str(target.serial_log("vmferry-j1")) == "/var/log/libvirt/qemu/vmferry-j1-serial.log"
    session = open_target(TargetSpec(id="t", name="t", uri="qemu:///session"))
    assert str(session.serial_log("j1")) == "/c/libvirt/qemu/log/j1-serial.log"


@pytest.mark.parametrize("name", ["", "..", ".x", "a/b", "-rf", "a b", "a\n", "$(x)", "ü", "x" * 300])
def test_names_of_volumes_and_logs_are_plain(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_name(name)
    with pytest.raises(InvalidRequest):
        open_target(TargetSpec(id="t", name="t")).serial_log(name)


class Network:
    """One that goes as soon as it has been listed."""

    def name(self) -> str:
        return "lan"

    def isActive(self) -> bool:
        raise libvirt_error(libvirt.VIR_ERR_NO_NETWORK)


class Broken:
    """A pool or a domain that cannot be described any more."""

    def __init__(self, code: int) -> None:
        self._code = code

    def XMLDesc(self) -> str:
        raise libvirt_error(self._code)


class Host:
    """The part of libvirt.virConnect that an inventory uses, of a host with a network and what is given."""

    def __init__(self, *, pools: int | None = None, domains: int | None = None) -> None:
        self._pools, self._domains = pools, domains

    def getVersion(self) -> int:
        return 7_002_000

    getLibVersion = getVersion

    def listAllNetworks(self, flags: int = 0) -> list[Network]:
        assert flags == libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE
        return [Network()]

    def listAllStoragePools(self) -> list[Broken]:
        return [] if self._pools is None else [Broken(self._pools)]

    def listAllDomains(self) -> list[Broken]:
        return [] if self._domains is None else [Broken(self._domains)]


def test_a_network_that_goes_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "describe", lambda connection: None)
    assert target._inventory(Host())["networks"] == ("lan",)


def test_what_goes_between_list_and_description_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The domain of another job that is rolled back, the pool of somebody else."""
    monkeypatch.setattr(host, "describe", lambda connection: None)
    gone = Host(pools=libvirt.VIR_ERR_NO_STORAGE_POOL, domains=libvirt.VIR_ERR_NO_DOMAIN)
    found = target._inventory(gone)
    assert (found["pools"], found["domains"]) == ((), ())
    with pytest.raises(libvirt.libvirtError):
        target._inventory(Host(domains=libvirt.VIR_ERR_RPC))


def libvirt_error(code: int, message: str = "m", domain: int = libvirt.VIR_FROM_QEMU, int1: int = 0) -> Any:
    error = libvirt.libvirtError("failed")
    error.err = (code, domain, message, 2, None, None, None, int1, 0)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (libvirt_error(libvirt.VIR_ERR_NO_DOMAIN), NotFound),
        (libvirt_error(libvirt.VIR_ERR_NO_STORAGE_POOL), NotFound),
        (libvirt_error(libvirt.VIR_ERR_AUTH_FAILED), TargetDenied),
        (libvirt_error(libvirt.VIR_ERR_SYSTEM_ERROR, int1=errno.EACCES, domain=libvirt.VIR_FROM_RPC), TargetDenied),
        (
            libvirt_error(libvirt.VIR_ERR_SYSTEM_ERROR, int1=errno.ENOENT, domain=libvirt.VIR_FROM_RPC),
            TargetUnavailable,
        ),
        (libvirt_error(libvirt.VIR_ERR_SYSTEM_ERROR, int1=errno.ENOSPC), NoSpace),
        (libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, "qemu-img: x: No space left on device"), NoSpace),
        (libvirt_error(libvirt.VIR_ERR_OPERATION_FAILED, "domain 'x' already exists with uuid 1"), DomainExists),
        (
            libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed", libvirt.VIR_FROM_RPC),
            TargetUnavailable,
        ),
        (libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, "pool 'x' has asynchronous jobs running."), TargetUnavailable),
        (libvirt_error(libvirt.VIR_ERR_XML_ERROR, "bad"), TargetDenied),
    ],
)
def test_errors_by_code(error: Any, kind: type[Exception]) -> None:
    assert type(translate(error)) is kind


MAC = bytes.fromhex("0050568a5010")
ETHERNET = b"\xff" * 6 + MAC
ARP = b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" + MAC


@pytest.mark.parametrize(
    ("frame", "address"),
    [
        (ETHERNET + ARP + b"\xc0\0\x02\x0a" + bytes(10), "192.0.2.10"),
        (ETHERNET + ARP + bytes(14), None),  # it is only probing for an address
        (ETHERNET + b"\x08\0" + bytes(12) + b"\xc0\0\x02\x0a" + bytes(4), "192.0.2.10"),
        (ETHERNET + b"\x08\0" + bytes(12) + bytes(8), None),  # DHCP
        (ETHERNET + b"\x86\xdd" + bytes(8) + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", "2001:db8::1"),
        (ETHERNET + b"\x86\xdd" + bytes(8) + b"\xfe\x80" + bytes(13) + b"\x01", None),  # every card has one of these
        (ETHERNET + ARP + b"\xa9\xfe\x01\x01", None),
        (ETHERNET + ARP + b"\xc0\0", None),
        (ETHERNET + b"\x88\xcc" + bytes(40), None),
        (b"short", None),
    ],
)
def test_who_sends_a_frame(frame: bytes, address: str | None) -> None:
    assert sender(frame) == (address and ("00:50:56:8a:50:10", address))


def test_an_address_is_asked_for_by_another_of_its_network() -> None:
    frame = request(MAC, "192.0.2.10/24")
    assert len(frame) == 60
    assert frame[:14] == ETHERNET + b"\x08\x06"
    asker, wanted = frame[28:32], frame[38:42]
    assert wanted == bytes([192, 0, 2, 10])
    assert asker[:3] == wanted[:3]
    assert asker[3] not in (0, 1, 10, 254, 255)  # a probe from 0.0.0.0 would look like a conflict to a probing guest


@pytest.mark.parametrize("cidr", ["2001:db8::1/64", "192.0.2.10/32", "192.0.2.10/31", "rubbish", ""])
def test_what_cannot_be_asked_for_is_not(cidr: str) -> None:
    assert request(MAC, cidr) == b""


def test_an_older_qemus_ppm_becomes_a_png() -> None:
    pixels = bytes(range(18))
    png = as_png(b"P6\n3 2\n255\n" + pixels)
    assert as_png(png) == png
    assert struct.unpack(">II", png[16:24]) == (3, 2)
    size = int.from_bytes(png[33:37], "big")
    assert zlib.decompress(png[41 : 41 + size]) == b"\0" + pixels[:9] + b"\0" + pixels[9:]


@pytest.mark.parametrize("damage", ["", "cut", "flip", "ppm cut", "text"])
def test_what_is_no_whole_picture_is_refused(damage: str) -> None:
    png = as_png(b"P6 1 1 255\n" + b"abc")
    data = {
        "": b"",
        "cut": png[:-1],
        "flip": png[:45] + bytes([png[45] ^ 1]) + png[46:],
        "ppm cut": b"P6 2 2 255\nabc",
        "text": b"<html>",
    }[damage]
    with pytest.raises(TargetUnavailable):
        as_png(data)


class Hypervisor:
    """What libvirt says of a host of two nodes."""

    def getCapabilities(self) -> str:
        return (
            "<capabilities><host><topology><cells num='2'>"
            "<cell id='0'><memory unit='KiB'>2048</memory><pages unit='KiB' size='4'>512</pages>"
            "<pages unit='KiB' size='2048'>9</pages><cpus num='2'><cpu id='0'/><cpu id='2'/></cpus></cell>"
            "<cell id='3'><memory unit='KiB'>1024</memory><pages unit='KiB' size='4'>256</pages>"
            "<cpus num='1'><cpu id='1'/></cpus></cell></cells></topology></host></capabilities>"
        )

    def getFreePages(self, sizes: list[int], first: int, count: int) -> dict[int, dict[int, int]]:
        assert (sizes, count) == ([2048], 1)
        return {first: {2048: 7}}


def test_a_hosts_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts, switch = tmp_path / "mounts", tmp_path / "run"
    mounts.write_text("proc /proc proc rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw 0 0\n")
    monkeypatch.setattr(host, "MOUNTS", mounts)
    monkeypatch.setattr(host, "KSM", switch)
    seen = host.describe(Hypervisor())
    assert seen.nodes == (
        HostNode(id=0, cpus=(0, 2), memory_bytes=2 << 20, huge_pages={2048: 7}),
        HostNode(id=3, cpus=(1,), memory_bytes=1 << 20),
    )
    assert seen.ksm == "missing"
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert host.describe(Hypervisor()).nodes[0].huge_pages == {}
    for text, found in (("1\n", "on"), ("0\n", "off"), ("2\n", "off")):
        switch.write_text(text)
        assert host.describe(Hypervisor()).ksm == found


def test_a_hosts_network_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, kind in (("lo", "772"), ("br0", "1"), ("eth0", "1"), ("vnet0", "1"), ("br-int", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
        (tmp_path / name / "mtu").write_text("9000\n")
    (tmp_path / "br0/bridge").mkdir()
    (tmp_path / "vnet0/tun_flags").write_text("0x1002\n")
    monkeypatch.setattr(host, "DEVICES", tmp_path)
    monkeypatch.setattr(host, "ovs_bridges", lambda: frozenset({"br-int", "br-gone"}))
    seen = host.describe(Hypervisor())
    assert (seen.bridges, seen.ovs_bridges, seen.cards) == ({"br0": 9000}, {"br-int": 9000}, {"eth0": 9000})


def test_only_pins_to_one_cpu_are_pins() -> None:
    pins = "<vcpupin vcpu='0' cpuset='3'/><vcpupin vcpu='1' cpuset='1'/><vcpupin vcpu='2' cpuset='0-7'/>"
    assert host.pinned(f"<domain><cputune>{pins}</cputune></domain>") == (1, 3)
    assert host.pinned("<domain/>") == ()


def test_devices_that_a_domain_has() -> None:
    xml = """<domain><devices>
      <hostdev type='pci'><source><address domain='0x0000' bus='0x3b' slot='0x1f' function='0x7'/></source>
        <address type='pci' domain='0x0000' bus='0x07' slot='0x00' function='0x0'/></hostdev>
      <hostdev type='mdev'><source><address uuid='C0B26072-dd1b-4340-84fe-bf338c510818'/></source></hostdev>
      <hostdev type='usb'><source><vendor id='0x1'/></source></hostdev>
      <hostdev type='scsi'><source><address bus='0' target='0' unit='0'/></source></hostdev>
      <interface type='hostdev'><source>
        <address type='pci' domain='0' bus='94' slot='2' function='3'/></source></interface>
      <interface type='network'><source network='default'/></interface>
    </devices></domain>"""
    assert host.hostdevs(xml) == ("0000:3b:1f.7", "c0b26072-dd1b-4340-84fe-bf338c510818", "0000:5e:02.3")


def test_devices_that_a_guest_can_have(tmp_path: Path) -> None:
    for name in ("pci/0000:3b:00.0/iommu_group", "pci/0000:00:1f.0", "mdev/C0B2"):
        (tmp_path / name).mkdir(parents=True)
    assert host.devices(tmp_path / "pci", tmp_path / "mdev") == {
        "0000:00:1f.0": False,
        "0000:3b:00.0": True,
        "c0b2": True,
    }
    assert host.devices(tmp_path / "none", tmp_path / "none") == {}


def test_direct_io_is_refused_by_einval_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert pools.takes_direct_io(str(tmp_path / "not-there"))

    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "open", refuse)
    assert not pools.takes_direct_io(str(tmp_path))


def test_cards_that_share_a_mac_are_not_taken_for_isolated() -> None:
    class Domain:
        def XMLDesc(self) -> str:
            card = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/></interface>"
            return f"<domain><devices>{card}{card}</devices></domain>"

    with pytest.raises(TargetDenied, match="several cards have the MAC 52:54:00:00:00:01"):
        cards.isolate(None, Domain())
