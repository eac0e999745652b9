"""What is under <devices>."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from app.domain.hardware.model import Hardware, TargetDisk, TargetNic
from app.domain.hostdevs import HostDevice, pci_address
from app.domain.libvirt_xml.elements import add_text
from app.domain.networks import Bandwidth

_SOURCES = {  # an attachment's kind → the interface's, and what its source is called
    "network": ("network", "network"),
    "bridge": ("bridge", "bridge"),
    "ovs": ("bridge", "bridge"),
    "macvtap": ("direct", "dev"),
}


def add(devices: Element, hw: Hardware) -> None:
    for index, disk in enumerate(hw.disks):
        devices.append(_disk(disk, index))
    for name in hw.cdroms:
        devices.append(_cdrom(name))
    if any(disk.bus == "scsi" for disk in hw.disks):
        controller = SubElement(devices, "controller", type="scsi", model="virtio-scsi")
        if hw.io_threads:
            SubElement(controller, "driver", iothread="1")
    for nic in hw.nics:
        devices.append(interface_xml(nic))
    for device in hw.hostdevs:
        devices.append(_host_device(device))
    _console(devices, hw)
    if hw.sound:
        SubElement(devices, "sound", model="ich9")
    if hw.tpm:
        SubElement(SubElement(devices, "tpm", model="tpm-crb"), "backend", type="emulator", version="2.0")
    if not hw.unconverted:
        _virtio_extras(devices)
    _balloon(devices, hw)


def interface_xml(spec: TargetNic) -> Element:
    """A card, as it is in a domain."""
    if spec.attachment.kind == "hostdev":
        return _card_of_the_host(spec)
    kind, source = _SOURCES[spec.attachment.kind]
    nic = Element("interface", type=kind)
    SubElement(nic, "mac", address=spec.mac)
    source_xml = SubElement(nic, "source", {source: spec.attachment.name})
    match spec.attachment.kind:
        case "macvtap":
            source_xml.set("mode", "bridge")
        case "ovs":
            SubElement(nic, "virtualport", type="openvswitch")
    _add_vlan(nic, spec)
    if spec.sends or spec.receives:
        bandwidth = SubElement(nic, "bandwidth")
        for direction, limit in (("inbound", spec.receives), ("outbound", spec.sends)):  # as the guest sees them
            if limit:
                SubElement(bandwidth, direction, _in_kib(limit))
    SubElement(nic, "model", type=spec.model)
    if spec.queues > 1:
        SubElement(nic, "driver", queues=str(spec.queues))
    if not spec.link_up:
        SubElement(nic, "link", state="down")
    return nic


def _card_of_the_host(spec: TargetNic) -> Element:
    nic = Element("interface", type="hostdev", managed="yes")
    SubElement(nic, "mac", address=spec.mac)
    SubElement(SubElement(nic, "source"), "address", {"type": "pci"} | pci_address(spec.attachment.name))
    _add_vlan(nic, spec)
    return nic


def _add_vlan(nic: Element, spec: TargetNic) -> None:
    if spec.attachment.vlan is not None:
        SubElement(SubElement(nic, "vlan"), "tag", id=str(spec.attachment.vlan))


def _host_device(device: HostDevice) -> Element:
    """`managed`: libvirt takes a PCI device from its driver while the guest runs, and gives it back."""
    hostdev = Element("hostdev", mode="subsystem", type=device.kind)
    if device.kind == "pci":
        hostdev.set("managed", "yes")
        SubElement(SubElement(hostdev, "source"), "address", pci_address(device.address))
    else:
        hostdev.set("model", "vfio-pci")
        SubElement(SubElement(hostdev, "source"), "address", uuid=device.address)
    return hostdev


def _in_kib(limit: Bandwidth) -> dict[str, str]:
    sizes = {"average": limit.average, "peak": limit.peak, "burst": limit.burst}
    return {name: str(max(1, size // 1024)) for name, size in sizes.items() if size}


def _disk(spec: TargetDisk, index: int) -> Element:
    disk = Element("disk", type="file", device="disk")
    # Unless it is asked for, no cache mode is named: QEMU's default honours every flush of the guest and, unlike
    # "none", needs no O_DIRECT, which not every file system of a pool has.
    driver = SubElement(disk, "driver", name="qemu", type=spec.format)
    if spec.direct:
        driver.set("cache", "none")
        driver.set("io", "native")
    if spec.discard:
        driver.set("discard", "unmap")
    if spec.thread is not None:
        driver.set("iothread", str(spec.thread))
    SubElement(disk, "source", file=spec.path)
    SubElement(disk, "target", dev=spec.device, bus=spec.bus)
    if spec.iops_limit is not None:
        add_text(SubElement(disk, "iotune"), "total_iops_sec", str(spec.iops_limit))
    add_text(disk, "serial", spec.serial)
    if index == 0:
        SubElement(disk, "boot", order="1")
    if spec.bus == "scsi":  # libvirt would put seven on our controller, and the others on its own, of another model
        SubElement(disk, "address", type="drive", controller="0", bus="0", target=str(index), unit="0")
    return disk


def _cdrom(device: str) -> Element:
    drive = Element("disk", type="file", device="cdrom")
    SubElement(drive, "driver", name="qemu", type="raw")
    SubElement(drive, "target", dev=device, bus="sata")
    SubElement(drive, "readonly")
    return drive


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


def _balloon(devices: Element, hw: Hardware) -> None:
    balloon = SubElement(devices, "memballoon", model="none" if hw.balloon == "none" else "virtio")
    if hw.balloon == "eager":
        balloon.set("autodeflate", "on")
        balloon.set("freePageReporting", "on")
