"""The machine that domains run on, as far as hardware asks for it: NUMA nodes with their CPUs and huge pages, KSM."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from app.domain.host import Host, HostNode

KSM = Path("/sys/kernel/mm/ksm/run")
MOUNTS = Path("/proc/mounts")
ORDINARY_PAGE_KIB = 4


def describe(connection: Any) -> Host:
    topology = fromstring(connection.getCapabilities()).findall("host/topology/cells/cell")
    mounted = has_huge_page_mount(MOUNTS.read_text())
    return Host(nodes=tuple(_node(connection, cell, mounted) for cell in topology), ksm=ksm(KSM))


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
