"""What an inventory tool's export says of a VM, beside who it is: it only tells how old the export is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.domain.models import VM

_MIB = 1 << 20


@dataclass(frozen=True)
class Described:
    """None and {}: not said. networks: those of its cards → their VLANs, None where that is not known."""

    cpus: int | None = None
    memory_bytes: int | None = None
    disks: int | None = None
    disk_bytes: int | None = None
    networks: Mapping[str, int | None] = field(default_factory=dict)


def differences(said: Described, vm: VM) -> Iterator[str]:
    """What is no longer as it was when the export was made, each in a few words: "4 CPUs, then 2"."""
    if said.cpus not in (None, vm.cpus):
        yield f"{vm.cpus} CPUs, then {said.cpus}"
    if said.memory_bytes is not None and said.memory_bytes // _MIB != vm.memory_bytes // _MIB:
        yield f"{vm.memory_bytes // _MIB} MiB of memory, then {said.memory_bytes // _MIB}"
    if said.disks not in (None, len(vm.disks)):
        yield f"{len(vm.disks)} disks, then {said.disks}"
    elif said.disk_bytes is not None and abs(said.disk_bytes - vm.disk_bytes) >= _MIB * max(len(vm.disks), 1):
        yield f"{vm.disk_bytes // _MIB} MiB of disks, then {said.disk_bytes // _MIB}"
    now = {nic.network: nic.vlan for nic in vm.nics}
    if said.networks and set(said.networks) != set(now):
        yield f"cards in {_named(now)}, then in {_named(said.networks)}"
    for name, vlan in said.networks.items():
        if vlan and now.get(name) and vlan != now[name]:
            yield f"VLAN {now[name]} in {name}, then {vlan}"


def _named(networks: Mapping[str, int | None] | Mapping[str, int]) -> str:
    return ", ".join(sorted(networks)) or "no network"
