"""Which hardware a moved VM gets: RULES is the table, docs/hardware.md its text."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from app.domain.conversion import is_windows
from app.domain.errors import InvalidRequest
from app.domain.models import VM, Hardware, Move, Nic, TargetDisk, TargetNic

MOST_VIRTIO_BLK = 16  # each takes a PCI port of its own; more than that go to virtio-scsi controllers
MOST_QUEUES = 8  # of a card: more gain nothing, and each costs a kernel thread of the host
HOT_ADD_TIMES = 4  # how many times its CPUs a VM can get while it runs, where VMware allowed to add any
NORMAL_CPU_SHARES = 1000  # VMware's, of one virtual CPU


class Buses(NamedTuple):
    disk: Literal["virtio", "scsi", "sata"]
    letters: Literal["vd", "sd"]
    nic: Literal["virtio", "e1000e"]


class Case(NamedTuple):
    """What the rules are asked about."""

    move: Move
    disk_paths: Sequence[str]
    domain_uuid: str
    accelerator: Literal["kvm", "tcg"]
    serial_log: str
    has_tpm: bool  # whether the target's host can emulate one

    @property
    def vm(self) -> VM:
        return self.move.vm

    @property
    def buses(self) -> Buses:
        if not self.move.converts:
            return Buses(disk="sata", letters="sd", nic="e1000e")
        if len(self.vm.disks) > MOST_VIRTIO_BLK:
            return Buses(disk="scsi", letters="sd", nic="virtio")
        return Buses(disk="virtio", letters="vd", nic="virtio")


def hardware_for(
    move: Move,
    *,
    disk_paths: Sequence[str],
    domain_uuid: str,
    accelerator: Literal["kvm", "tcg"] = "kvm",
    serial_log: str = "",
    has_tpm: bool = False,
) -> Hardware:
    """The domain for a move.

    `disk_paths`: one file of the target's format for each of the VM's disks, in their order. `domain_uuid` is also what
    the guest reads as its SMBIOS UUID. `serial_log`: where its serial port is written, empty for nowhere. `has_tpm`:
    whether the host can emulate a TPM.
    Raises InvalidRequest when a card's network is not mapped, or the paths do not match the disks.
    """
    if len(disk_paths) != len(move.vm.disks):
        raise InvalidRequest(f"{move.vm.name} has {len(move.vm.disks)} disks, but {len(disk_paths)} files were given")
    case = Case(move, disk_paths, domain_uuid, accelerator, serial_log, has_tpm)
    return Hardware(**{name: value for rule in RULES for name, value in rule(case).items()})


def identity(case: Case) -> dict[str, Any]:
    """Its UUID, its name or the one that was asked for, and a line that says whose it is."""
    return {
        "uuid": case.domain_uuid,
        "name": case.move.domain_name,
        "job_id": case.move.job_id,
        "title": _printable(case.vm.name),
        "unconverted": not case.move.converts,
        "accelerator": case.accelerator,
    }


def firmware(case: Case) -> dict[str, Any]:
    """BIOS or UEFI as it was; Secure Boot with UEFI only."""
    return {
        "firmware": case.vm.firmware,
        "secure_boot": case.vm.firmware == "efi" and case.vm.secure_boot,
    }


def tpm(case: Case) -> dict[str, Any]:
    """A new, empty TPM 2.0 where the VM had one and the host can emulate it."""
    return {"tpm": case.vm.tpm and case.has_tpm}


def processors(case: Case) -> dict[str, Any]:
    """As many, in as many sockets; where CPUs could be added, up to HOT_ADD_TIMES as many sockets."""
    sockets, cores = topology(case.vm)
    times = HOT_ADD_TIMES if case.vm.cpu_hot_add else 1
    return {"cpus": case.vm.cpus, "sockets": sockets * times, "cores": cores}


def processor_time(case: Case) -> dict[str, Any]:
    """VMware's shares against the normal ones, as a weight; its limit in MHz, as a part of the source host's CPUs."""
    vm = case.vm
    weight = share = None
    if vm.cpu_shares is not None:
        weight = min(10_000, max(1, 100 * vm.cpu_shares // (NORMAL_CPU_SHARES * vm.cpus)))
    if vm.cpu_limit_mhz is not None and vm.host_mhz:
        share = vm.cpu_limit_mhz / (vm.host_mhz * vm.cpus)
    return {"cpu_weight": weight, "cpu_share": share if share is not None and share < 1 else None}


def memory(case: Case) -> dict[str, Any]:
    """As much; VMware's limit below it is what the host shall try to keep it under."""
    limit = case.vm.memory_limit_bytes
    return {
        "memory_bytes": case.vm.memory_bytes,
        "memory_soft_limit": limit if limit is not None and limit < case.vm.memory_bytes else None,
    }


def clock(case: Case) -> dict[str, Any]:
    """Windows counts in local time, all others in UTC."""
    return {"clock": "localtime" if is_windows(case.vm) else "utc"}


def enlightenments(case: Case) -> dict[str, Any]:
    """Windows is told of its hypervisor in Hyper-V's words, where one is: it idles and keeps time better."""
    return {"hyperv": is_windows(case.vm) and case.accelerator == "kvm"}


def disks(case: Case) -> dict[str, Any]:
    """In the source's order, each with its limit of operations a second: virtio-blk; virtio-scsi when there are many;
    SATA for a guest without virtio.
    """
    return {"disks": tuple(_disk(case, index) for index in range(len(case.disk_paths)))}


def cards(case: Case) -> dict[str, Any]:
    """In the source's order, with their MACs: virtio-net with a queue for each CPU; e1000e without virtio."""
    return {"nics": tuple(_nic(case, nic) for nic in case.vm.nics)}


def drives(case: Case) -> dict[str, Any]:
    """As many CD-ROM drives, empty, on SATA."""
    taken = 0 if case.buses.letters == "vd" else len(case.vm.disks)
    return {"cdroms": tuple(device_name("sd", taken + index) for index in range(case.vm.cdroms))}


def console(case: Case) -> dict[str, Any]:
    return {"serial_log": case.serial_log}


RULES: tuple[Callable[[Case], dict[str, Any]], ...] = (
    identity,
    firmware,
    tpm,
    processors,
    processor_time,
    memory,
    clock,
    enlightenments,
    disks,
    cards,
    drives,
    console,
)


def topology(vm: VM) -> tuple[int, int]:
    """(sockets, cores per socket); a division that leaves a rest is given up for one core per socket."""
    if vm.cpus % vm.cores_per_socket:
        return vm.cpus, 1
    return vm.cpus // vm.cores_per_socket, vm.cores_per_socket


def device_name(prefix: str, index: int) -> str:
    """vda … vdz, vdaa …: VMware allows 256 disks."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = string.ascii_lowercase[rest] + letters
    return prefix + letters


def _disk(case: Case, index: int) -> TargetDisk:
    image = case.move.target.image
    return TargetDisk(
        path=case.disk_paths[index],
        format=image.format,
        discard=image.discard,
        bus=case.buses.disk,
        device=device_name(case.buses.letters, index),
        serial=f"{case.domain_uuid.replace('-', '')[:16]}-{index}",  # the VM's, not the job's: the same after a retry
        iops_limit=case.vm.disks[index].iops_limit,
    )


def _nic(case: Case, nic: Nic) -> TargetNic:
    network = case.move.network_for(nic)
    if network is None:
        raise InvalidRequest(
            f"the network {nic.network!r} of {nic.label} is not mapped",
            f"Map it on the target, or for this job: --network {nic.network!r}=NAME.",
        )
    model = case.buses.nic
    queues = min(MOST_QUEUES, case.vm.cpus) if model == "virtio" and case.accelerator == "kvm" else 1
    return TargetNic(mac=nic.mac.lower(), network=network, model=model, link_up=nic.connected, queues=queues)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
