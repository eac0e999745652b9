"""The XML of a libvirt domain, from Hardware. Values are escaped by ElementTree, never pasted."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from app.domain.errors import InvalidRequest
from app.domain.hardware.model import Hardware, TargetDisk, TargetNic

NAMESPACE = "https://vmferry.dev/xmlns/domain/1"
"""Of our own element in a domain's metadata: <vmferry:job id="…"/> marks what we made."""

register_namespace("vmferry", NAMESPACE)

_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1000  # libvirt takes no less
_ENLIGHTENMENTS = ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "frequencies", "tlbflush", "ipi")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def domain_xml(hw: Hardware) -> str:
    """The XML that `define` takes. Raises InvalidRequest for a value with characters that XML cannot carry."""
    domain = Element("domain", type="kvm" if hw.accelerator == "kvm" else "qemu")
    _text(domain, "name", hw.name)
    _text(domain, "uuid", hw.uuid)
    if hw.title:
        _text(domain, "title", hw.title)
    unconverted = "; unconverted" if hw.unconverted else ""
    _text(domain, "description", f"Moved by vmferry, job {hw.job_id}{unconverted}")
    SubElement(SubElement(domain, "metadata"), f"{{{NAMESPACE}}}job", id=hw.job_id)
    _text(domain, "memory", str(-(-hw.memory_bytes // 1024)), unit="KiB")
    vcpu = SubElement(domain, "vcpu")
    most = max(hw.cpus, hw.sockets * hw.cores)
    vcpu.text = str(most)
    if most > hw.cpus:
        vcpu.set("current", str(hw.cpus))
    _tuning(domain, hw)
    _firmware(domain, hw)
    # TCG cannot take host-model: that names features which only the real CPU has
    cpu = SubElement(domain, "cpu", mode="host-model" if hw.accelerator == "kvm" else "maximum")
    SubElement(cpu, "topology", sockets=str(hw.sockets), cores=str(hw.cores), threads="1")
    _clock(domain, hw)
    # a guest that crashes stays down: a restart would hide it from whoever looks
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    devices = SubElement(domain, "devices")
    for index, disk in enumerate(hw.disks):
        devices.append(_disk(disk, first=index == 0))
    for device in hw.cdroms:
        devices.append(_cdrom(device))
    if any(disk.bus == "scsi" for disk in hw.disks):
        SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    for nic in hw.nics:
        devices.append(_nic(nic))
    _console(devices, hw)
    if hw.tpm:
        SubElement(SubElement(devices, "tpm", model="tpm-crb"), "backend", type="emulator", version="2.0")
    if hw.unconverted:
        SubElement(devices, "memballoon", model="none")
    else:
        _virtio_extras(devices)
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


def _tuning(domain: Element, hw: Hardware) -> None:
    if hw.cpu_weight is not None or hw.cpu_share is not None:
        cputune = SubElement(domain, "cputune")
        if hw.cpu_weight is not None:
            _text(cputune, "shares", str(hw.cpu_weight))
        if hw.cpu_share is not None:
            _text(cputune, "period", str(_PERIOD_US))
            _text(cputune, "quota", str(max(_LEAST_QUOTA_US, round(hw.cpu_share * _PERIOD_US))))
    if hw.memory_soft_limit is not None:
        _text(SubElement(domain, "memtune"), "soft_limit", str(hw.memory_soft_limit // 1024), unit="KiB")


def _clock(domain: Element, hw: Hardware) -> None:
    clock = SubElement(domain, "clock", offset=hw.clock)
    if hw.hyperv:  # as virt-install has it for Windows
        SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        SubElement(clock, "timer", name="pit", tickpolicy="delay")
        SubElement(clock, "timer", name="hpet", present="no")
        SubElement(clock, "timer", name="hypervclock", present="yes")


def _firmware(domain: Element, hw: Hardware) -> None:
    os = SubElement(domain, "os")
    _text(os, "type", "hvm", arch="x86_64", machine=hw.machine)
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


def _disk(spec: TargetDisk, *, first: bool) -> Element:
    disk = Element("disk", type="file", device="disk")
    # No cache mode is named: QEMU's default honours every flush of the guest and, unlike "none", needs no O_DIRECT,
    # which not every file system of a pool has.
    driver = SubElement(disk, "driver", name="qemu", type=spec.format)
    if spec.discard:
        driver.set("discard", "unmap")
    SubElement(disk, "source", file=spec.path)
    SubElement(disk, "target", dev=spec.device, bus=spec.bus)
    if spec.iops_limit is not None:
        _text(SubElement(disk, "iotune"), "total_iops_sec", str(spec.iops_limit))
    _text(disk, "serial", spec.serial)
    if first:
        SubElement(disk, "boot", order="1")
    return disk


def _cdrom(device: str) -> Element:
    drive = Element("disk", type="file", device="cdrom")
    SubElement(drive, "driver", name="qemu", type="raw")
    SubElement(drive, "target", dev=device, bus="sata")
    SubElement(drive, "readonly")
    return drive


def _nic(spec: TargetNic) -> Element:
    nic = Element("interface", type="network")
    SubElement(nic, "mac", address=spec.mac)
    SubElement(nic, "source", network=spec.network)
    SubElement(nic, "model", type=spec.model)
    if spec.queues > 1:
        SubElement(nic, "driver", queues=str(spec.queues))
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
