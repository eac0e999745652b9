"""The XML of a libvirt domain, from Hardware. Values are escaped by ElementTree, never pasted."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from app.domain.errors import InvalidRequest
from app.domain.models import Hardware, TargetDisk, TargetNic

NAMESPACE = "https://vmferry.dev/xmlns/domain/1"
"""Of our own element in a domain's metadata: <vmferry:job id="…"/> marks what we made."""

register_namespace("vmferry", NAMESPACE)

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def domain_xml(hw: Hardware) -> str:
    """The XML that `define` takes. Raises InvalidRequest for a value with characters that XML cannot carry."""
    domain = Element("domain", type="kvm" if hw.accelerator == "kvm" else "qemu")
    _text(domain, "name", hw.name)
    _text(domain, "uuid", hw.uuid)
    if hw.title:
        _text(domain, "title", hw.title)
    _text(domain, "description", f"Moved by vmferry, job {hw.job_id}")
    SubElement(SubElement(domain, "metadata"), f"{{{NAMESPACE}}}job", id=hw.job_id)
    _text(domain, "memory", str(-(-hw.memory_bytes // 1024)), unit="KiB")
    _text(domain, "vcpu", str(hw.cpus))
    _firmware(domain, hw)
    # TCG cannot take host-model: that names features which only the real CPU has
    cpu = SubElement(domain, "cpu", mode="host-model" if hw.accelerator == "kvm" else "maximum")
    SubElement(cpu, "topology", sockets=str(hw.sockets), cores=str(hw.cores), threads="1")
    SubElement(domain, "clock", offset=hw.clock)
    # a guest that crashes stays down: a restart would hide it from whoever looks
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    devices = SubElement(domain, "devices")
    for index, disk in enumerate(hw.disks):
        devices.append(_disk(disk, first=index == 0))
    for nic in hw.nics:
        devices.append(_nic(nic))
    _console(devices, hw)
    if any(disk.bus == "virtio" for disk in hw.disks):
        _virtio_extras(devices)
    else:
        SubElement(devices, "memballoon", model="none")
    for element in domain.iter():
        for value in (element.text or "", *element.attrib.values()):
            if _NOT_XML.search(value):
                raise InvalidRequest(
                    f"{element.tag} has characters that libvirt cannot take: {value!r}", "Give a target name."
                )
    indent(domain)
    return tostring(domain, encoding="unicode") + "\n"


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _firmware(domain: Element, hw: Hardware) -> None:
    os = SubElement(domain, "os")
    _text(os, "type", "hvm", arch="x86_64", machine=hw.machine)
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if hw.firmware == "efi":
        os.set("firmware", "efi")
        secure = "yes" if hw.secure_boot else "no"
        firmware = SubElement(os, "firmware")
        SubElement(firmware, "feature", enabled=secure, name="enrolled-keys")
        SubElement(firmware, "feature", enabled=secure, name="secure-boot")
        if hw.secure_boot:
            SubElement(features, "smm", state="on")


def _disk(spec: TargetDisk, *, first: bool) -> Element:
    disk = Element("disk", type="file", device="disk")
    # No cache mode is named: QEMU's default honours every flush of the guest and, unlike "none", needs no O_DIRECT,
    # which not every file system of a pool has.
    driver = SubElement(disk, "driver", name="qemu", type=spec.format)
    if spec.discard:
        driver.set("discard", "unmap")
    SubElement(disk, "source", file=spec.path)
    SubElement(disk, "target", dev=spec.device, bus=spec.bus)
    _text(disk, "serial", spec.serial)
    if first:
        SubElement(disk, "boot", order="1")
    return disk


def _nic(spec: TargetNic) -> Element:
    nic = Element("interface", type="network")
    SubElement(nic, "mac", address=spec.mac)
    SubElement(nic, "source", network=spec.network)
    SubElement(nic, "model", type=spec.model)
    if not spec.link_up:
        SubElement(nic, "link", state="down")
    return nic


def _console(devices: Element, hw: Hardware) -> None:
    serial = SubElement(devices, "serial", type="pty")
    if hw.serial_log:
        SubElement(serial, "log", file=hw.serial_log, append="off")
    SubElement(serial, "target", port="0")
    SubElement(devices, "controller", type="usb", model="qemu-xhci")
    SubElement(devices, "input", type="tablet", bus="usb")
    SubElement(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
    # plain VGA: every firmware and guest can draw on it, so that a picture of the console can always be taken
    SubElement(SubElement(devices, "video"), "model", type="vga")


def _virtio_extras(devices: Element) -> None:
    """What only a guest with virtio drivers can use."""
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    SubElement(SubElement(devices, "rng", model="virtio"), "backend", model="random").text = "/dev/urandom"
    SubElement(devices, "memballoon", model="virtio")
