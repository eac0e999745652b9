"""How much memory and how many CPUs, and what of the host's they are."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml.elements import add_kib, add_text, listed

MEMORY_SLOTS = 16

_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1000  # libvirt takes no less


def add(domain: Element, hw: Hardware) -> None:
    if hw.memory_most is not None:
        add_kib(domain, "maxMemory", hw.memory_most, slots=str(MEMORY_SLOTS))
    add_kib(domain, "memory", hw.memory_bytes)
    vcpu = SubElement(domain, "vcpu")
    most = max(hw.cpus, hw.sockets * hw.cores)
    vcpu.text = str(most)
    if most > hw.cpus:
        vcpu.set("current", str(hw.cpus))
    if hw.io_threads:
        add_text(domain, "iothreads", str(hw.io_threads))
    for group in (_cputune(hw), _memtune(hw), _numatune(hw), _backing(hw)):
        if len(group):
            domain.append(group)


def _cputune(hw: Hardware) -> Element:
    cputune = Element("cputune")
    if hw.cpu_weight is not None:
        add_text(cputune, "shares", str(hw.cpu_weight))
    if hw.cpu_share is not None:
        add_text(cputune, "period", str(_PERIOD_US))
        add_text(cputune, "quota", str(max(_LEAST_QUOTA_US, round(hw.cpu_share * _PERIOD_US))))
    for cpu, pin in enumerate(hw.pins):
        SubElement(cputune, "vcpupin", vcpu=str(cpu), cpuset=str(pin))
    if hw.helper_cpus:
        SubElement(cputune, "emulatorpin", cpuset=listed(hw.helper_cpus))
        for thread in range(1, hw.io_threads + 1):
            SubElement(cputune, "iothreadpin", iothread=str(thread), cpuset=listed(hw.helper_cpus))
    return cputune


def _memtune(hw: Hardware) -> Element:
    memtune = Element("memtune")
    if hw.memory_soft_limit is not None:
        add_kib(memtune, "soft_limit", hw.memory_soft_limit)
    return memtune


def _numatune(hw: Hardware) -> Element:
    numatune = Element("numatune")
    if hw.host_nodes:
        SubElement(numatune, "memory", mode="strict", nodeset=listed(hw.host_nodes))
    if len(hw.cells) == len(hw.host_nodes):
        for cell, node in enumerate(hw.host_nodes):
            SubElement(numatune, "memnode", cellid=str(cell), mode="strict", nodeset=str(node))
    return numatune


def _backing(hw: Hardware) -> Element:
    backing = Element("memoryBacking")
    if hw.memory_pages_kib:
        _add_pages(SubElement(backing, "hugepages"), hw.memory_pages_kib)
    if not hw.memory_merged:
        SubElement(backing, "nosharepages")
    if hw.memory_locked:
        SubElement(backing, "locked")
    return backing


def _add_pages(pages: Element, sizes: tuple[int, ...]) -> None:
    for size in sorted(set(sizes)):
        page = SubElement(pages, "page", size=str(size), unit="KiB")
        if len(set(sizes)) > 1:
            page.set("nodeset", listed(cell for cell, of_cell in enumerate(sizes) if of_cell == size))
