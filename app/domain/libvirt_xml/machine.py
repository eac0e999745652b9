"""Firmware, CPU and clock."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml.elements import add_text

_ENLIGHTENMENTS = ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "frequencies", "tlbflush", "ipi")


def add(domain: Element, hw: Hardware) -> None:
    _firmware(domain, hw)
    _cpu(domain, hw)
    _clock(domain, hw)
    # a guest that crashes stays down: a restart would hide it from whoever looks
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        add_text(domain, event, action)


def _firmware(domain: Element, hw: Hardware) -> None:
    os = SubElement(domain, "os")
    add_text(os, "type", "hvm", arch="x86_64", machine=hw.machine)
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if hw.hyperv:
        hyperv = SubElement(features, "hyperv", mode="custom")
        for name in _ENLIGHTENMENTS:
            SubElement(hyperv, name, state="on")
        SubElement(hyperv, "spinlocks", state="on", retries="8191")
    if hw.firmware == "efi":
        os.set("firmware", "efi")
        secure = "yes" if hw.secure_boot else "no"
        firmware = SubElement(os, "firmware")
        SubElement(firmware, "feature", enabled=secure, name="enrolled-keys")
        SubElement(firmware, "feature", enabled=secure, name="secure-boot")
        if hw.secure_boot:
            SubElement(features, "smm", state="on")


def _cpu(domain: Element, hw: Hardware) -> None:
    # TCG cannot take host-model: that names features which only the real CPU has
    cpu = SubElement(domain, "cpu", mode="host-model" if hw.accelerator == "kvm" else "maximum")
    SubElement(cpu, "topology", sockets=str(hw.sockets), cores=str(hw.cores), threads="1")
    if hw.cells:
        numa = SubElement(cpu, "numa")
        for number, cell in enumerate(hw.cells):
            last = cell.first_cpu + cell.cpus - 1
            cpus = f"{cell.first_cpu}-{last}" if cell.cpus > 1 else str(last)
            SubElement(numa, "cell", id=str(number), cpus=cpus, memory=str(-(-cell.memory_bytes // 1024)), unit="KiB")


def _clock(domain: Element, hw: Hardware) -> None:
    clock = SubElement(domain, "clock", offset=hw.clock)
    if hw.hyperv:  # as virt-install has it for Windows
        SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        SubElement(clock, "timer", name="pit", tickpolicy="delay")
        SubElement(clock, "timer", name="hpet", present="no")
        SubElement(clock, "timer", name="hypervclock", present="yes")
