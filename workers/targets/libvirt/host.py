"""The machine that domains run on, as far as hardware asks for it: NUMA nodes, huge pages, KSM, bridges, cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from app.domain.errors import ToolFailed, ToolTimedOut
from app.domain.host import Host, HostNode
from app.process import run

KSM = Path("/sys/kernel/mm/ksm/run")
MOUNTS = Path("/proc/mounts")
DEVICES = Path("/sys/class/net")
PCI_DEVICES = Path("/sys/bus/pci/devices")
MEDIATED_DEVICES = Path("/sys/bus/mdev/devices")
ETHERNET = "1"  # ARPHRD_ETHER
ANSWER_SECONDS = 10.0
ORDINARY_PAGE_KIB = 4


def describe(connection: Any) -> Host:
    topology = fromstring(connection.getCapabilities()).findall("host/topology/cells/cell")
    mounted = has_huge_page_mount(MOUNTS.read_text())
    switches = ovs_bridges()
    linked = {path.name: path for path in sorted(DEVICES.iterdir()) if is_ethernet(path)}
    return Host(
        nodes=tuple(_node(connection, cell, mounted) for cell in topology),
        bridges={name: mtu(path) for name, path in linked.items() if (path / "bridge").is_dir()},
        ovs_bridges={name: mtu(path) for name, path in linked.items() if name in switches},
        cards={
            name: mtu(path)
            for name, path in linked.items()
            if name not in switches and not (path / "bridge").is_dir() and not (path / "tun_flags").exists()
        },
        devices=devices(PCI_DEVICES, MEDIATED_DEVICES),
        ksm=ksm(KSM),
    )


def devices(pci: Path, mediated: Path) -> dict[str, bool]:
    found = {path.name: (path / "iommu_group").exists() for path in _entries(pci)}
    return found | {path.name.lower(): True for path in _entries(mediated)}


def is_ethernet(device: Path) -> bool:
    return _text(device / "type") == ETHERNET


def mtu(device: Path) -> int:
    """0 for a device that went away just now."""
    return int(_text(device / "mtu") or 0)


def ovs_bridges() -> frozenset[str]:
    """None where Open vSwitch is not installed, or does not run."""
    try:
        return frozenset(run(["ovs-vsctl", "--timeout=5", "list-br"], timeout=ANSWER_SECONDS).text.split())
    except (ToolFailed, ToolTimedOut):
        return frozenset()


def has_huge_page_mount(mounts: str) -> bool:
    """Whether QEMU finds huge pages: it takes them from a file system of theirs."""
    return any(line.split()[2] == "hugetlbfs" for line in mounts.splitlines())


def ksm(path: Path) -> Literal["on", "off", "missing"]:
    try:
        return "on" if path.read_text().strip() == "1" else "off"
    except OSError:
        return "missing"


def pinned(domain_xml: str) -> tuple[int, ...]:
    """The host's CPUs that a domain's own are pinned to, one by one."""
    pins = fromstring(domain_xml).findall("cputune/vcpupin")
    return tuple(sorted({int(cpuset) for pin in pins if (cpuset := pin.get("cpuset", "")).isdecimal()}))


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def hostdevs(domain_xml: str) -> tuple[str, ...]:
    """The host's devices that a domain has: addresses of PCI and UUIDs of mediated ones."""
    root = fromstring(domain_xml)
    given = root.findall("devices/hostdev/source/address") + root.findall(
        "devices/interface[@type='hostdev']/source/address"
    )
    return tuple(_device_name(address) for address in given if address.get("uuid") or address.get("function"))


def _device_name(address: Element) -> str:
    if uuid := address.get("uuid"):
        return uuid.lower()
    domain, bus, slot, function = (int(address.get(part, "0"), 0) for part in ("domain", "bus", "slot", "function"))
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _node(connection: Any, cell: Element, mounted: bool) -> HostNode:
    number = int(cell.get("id", "0"))
    sizes = [size for pages in cell.findall("pages") if (size := int(pages.get("size", "0"))) > ORDINARY_PAGE_KIB]
    free = connection.getFreePages(sizes, number, 1) if sizes and mounted else {}
    return HostNode(
        id=number,
        cpus=tuple(int(cpu.get("id", "0")) for cpu in cell.findall("cpus/cpu")),
        memory_bytes=int(cell.findtext("memory", "0")) * 1024,
        huge_pages=next(iter(free.values()), {}),
    )
