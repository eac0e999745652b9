"""What a libvirt domain is made of, before it is XML."""

from __future__ import annotations

from typing import Literal

from app.domain.models import Value


class TargetDisk(Value):
    path: str
    format: Literal["qcow2", "raw"] = "qcow2"
    discard: bool = True  # what the guest frees is given back to the storage
    bus: Literal["virtio", "scsi", "sata"]
    device: str  # vda, sda, …
    serial: str  # at most 20 characters, as virtio-blk takes
    iops_limit: int | None = None


class TargetNic(Value):
    mac: str
    network: str
    model: Literal["virtio", "e1000e"]
    link_up: bool = True
    queues: int = 1


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
    clock: Literal["utc", "localtime"] = "utc"  # what the real-time clock counts in
    cpus: int
    sockets: int  # together they may have room for more CPUs than there are now
    cores: int
    cpu_weight: int | None = None  # 100 is normal
    cpu_share: float | None = None  # of each CPU's time, at most
    memory_bytes: int
    memory_soft_limit: int | None = None  # bytes
    cdroms: tuple[str, ...] = ()  # devices: sda, …
    disks: tuple[TargetDisk, ...]
    nics: tuple[TargetNic, ...]
    serial_log: str = ""  # where libvirt writes what the guest says on its first serial port
