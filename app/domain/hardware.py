"""Which hardware a moved VM gets: the rules, and nothing else.

| what | a converted guest | disk_only: the guest has no virtio drivers yet |
| --- | --- | --- |
| disks, in the source's order | virtio-blk: vda, vdb, … | SATA: sda, sdb, … |
| cards, in the source's order, with their MACs | virtio-net | e1000e |

Firmware and Secure Boot, CPUs with cores per socket, memory and the clock's base are as on the source.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Literal, NamedTuple

from app.domain.errors import InvalidRequest
from app.domain.models import VM, Hardware, Move, Nic, TargetDisk, TargetNic


class Buses(NamedTuple):
    disk: Literal["virtio", "sata"]
    letters: Literal["vd", "sd"]
    nic: Literal["virtio", "e1000e"]


CONVERTED = Buses(disk="virtio", letters="vd", nic="virtio")
UNCONVERTED = Buses(disk="sata", letters="sd", nic="e1000e")


def hardware_for(
    move: Move,
    *,
    disk_paths: Sequence[str],
    domain_uuid: str,
    accelerator: Literal["kvm", "tcg"] = "kvm",
    serial_log: str = "",
) -> Hardware:
    """The domain for a move.

    `disk_paths`: one file of the target's format for each of the VM's disks, in their order. `domain_uuid` is also what
    the guest reads as its SMBIOS UUID. `serial_log`: where its serial port is written, empty for nowhere.
    Raises InvalidRequest when a card's network is not mapped, or the paths do not match the disks.
    """
    vm = move.vm
    if len(disk_paths) != len(vm.disks):
        raise InvalidRequest(f"{vm.name} has {len(vm.disks)} disks, but {len(disk_paths)} files were given")
    buses = CONVERTED if move.converts else UNCONVERTED
    sockets, cores = topology(vm)
    return Hardware(
        uuid=domain_uuid,
        name=move.domain_name,
        job_id=move.job_id,
        title=_printable(vm.name),
        accelerator=accelerator,
        firmware=vm.firmware,
        secure_boot=vm.firmware == "efi" and vm.secure_boot,
        clock="localtime" if vm.guest_id.lower().startswith("win") else "utc",
        cpus=vm.cpus,
        sockets=sockets,
        cores=cores,
        memory_bytes=vm.memory_bytes,
        disks=tuple(_disk(move, index, path, buses, domain_uuid) for index, path in enumerate(disk_paths)),
        nics=tuple(_nic(move, nic, buses) for nic in vm.nics),
        serial_log=serial_log,
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


def _disk(move: Move, index: int, path: str, buses: Buses, domain_uuid: str) -> TargetDisk:
    image = move.target.image
    return TargetDisk(
        path=path,
        format=image.format,
        discard=image.discard,
        bus=buses.disk,
        device=device_name(buses.letters, index),
        serial=f"{domain_uuid.replace('-', '')[:16]}-{index}",  # the VM's, not the job's: the same after a retry
    )


def _nic(move: Move, nic: Nic, buses: Buses) -> TargetNic:
    network = move.network_for(nic)
    if network is None:
        raise InvalidRequest(
            f"the network {nic.network!r} of {nic.label} is not mapped",
            f"Map it on the target, or for this job: --network {nic.network!r}=NAME.",
        )
    return TargetNic(mac=nic.mac.lower(), network=network, model=buses.nic, link_up=nic.connected)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
