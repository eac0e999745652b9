"""What a libvirt domain is made of, before it is XML."""

from __future__ import annotations

from typing import Literal

from app.domain.hostdevs import HostDevice
from app.domain.networks import Attachment, Bandwidth
from app.domain.value import Value


class TargetDisk(Value):
    path: str
    format: Literal["qcow2", "raw"] = "qcow2"
    discard: bool = True  # what the guest frees is given back to the storage
    bus: Literal["virtio", "scsi", "sata"]
    device: str  # vda, sda, …
    serial: str  # at most 20 characters, as virtio-blk takes
    iops_limit: int | None = None
    direct: bool = False  # past the host's page cache
    thread: int | None = None  # which of the domain's I/O threads serves it


class TargetNic(Value):
    mac: str
    attachment: Attachment
    model: Literal["virtio", "e1000e"]  # but for a hostdev, which is what it is
    link_up: bool = True
    queues: int = 1
    sends: Bandwidth | None = None
    receives: Bandwidth | None = None


class NumaCell(Value):
    """A NUMA node that the guest sees."""

    first_cpu: int
    cpus: int
    memory_bytes: int


class Hardware(Value):
    """A libvirt domain, before it is XML: made from a Move by the rules of this package."""

    uuid: str
    name: str
    job_id: str
    title: str = ""
    accelerator: Literal["kvm", "tcg"] = "kvm"
    machine: str = "q35"
    firmware: Literal["bios", "efi"] = "bios"
    secure_boot: bool = False
    unconverted: bool = False  # it has no drivers of virtio
    tpm: bool = False  # an emulated, empty one
    hyperv: bool = False  # Windows is told of its hypervisor
    sound: bool = False
    hostdevs: tuple[HostDevice, ...] = ()
    clock: Literal["utc", "localtime"] = "utc"  # what the real-time clock counts in
    cpus: int
    sockets: int  # together they may have room for more CPUs than there are now
    cores: int
    cpu_weight: int | None = None  # 100 is normal
    cpu_share: float | None = None  # of each CPU's time, at most
    pins: tuple[int, ...] = ()  # the host's CPU for each of its own
    helper_cpus: tuple[int, ...] = ()  # the host's CPUs for QEMU's own threads
    host_nodes: tuple[int, ...] = ()  # the host's NUMA nodes that its memory is taken from: one, or one for each cell
    cells: tuple[NumaCell, ...] = ()
    memory_bytes: int
    memory_most: int | None = None  # what it may grow to while it runs
    memory_pages_kib: tuple[int, ...] = ()  # the huge pages that it is made of: one size, or one for each cell
    memory_locked: bool = False  # the host does not swap it out
    memory_merged: bool = True  # the host may merge equal pages of it with those of others
    memory_soft_limit: int | None = None  # bytes
    balloon: Literal["none", "plain", "eager"] = "plain"  # eager: gives back by itself what the guest does not use
    io_threads: int = 0
    cdroms: tuple[str, ...] = ()  # devices: sda, …
    disks: tuple[TargetDisk, ...]
    nics: tuple[TargetNic, ...]
    serial_log: str = ""  # where libvirt writes what the guest says on its first serial port
