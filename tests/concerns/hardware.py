"""What preflight finds of hardware, networks and profiles, each with a VM of the lab that raises it."""

from __future__ import annotations

from typing import Any

from tests.concerns.entry import OnVsphere
from tests.concerns.vsphere import domain, pool, vm
from tests.lab.specs import NicSpec

PCI = "0000:3b:00.0"
LATENCY, DENSITY = {"profile": "latency"}, {"profile": "density"}
VLAN = NicSpec(network="VLAN 42", vlan=42)


def host(*cpus: int, pages: int = 4096, **fields: Any) -> dict[str, Any]:
    """A host with KVM and one NUMA node, with these CPUs and huge pages of 2 MiB."""
    node = {"id": 0, "cpus": cpus or (0, 1, 2, 3), "memory_bytes": 64 << 30, "huge_pages": {2048: pages}}
    return {"accelerator": "kvm", "host": {"nodes": [node], **fields}}


def given(address: str, label: str = "PCI device 0") -> dict[str, Any]:
    return {"hostdevs": {label: address}}


def bridges(kind: str, mtu: int = 1500) -> dict[str, Any]:
    return {"host": {kind: {"br0": mtu}}}


ENTRIES = (
    OnVsphere("network_invalid", "a network that is none", vm(), options={"networks": {"*": "bridge:../br0"}}),
    OnVsphere(
        "network_vlan_differs",
        "a port group with a VLAN, and a port of Open vSwitch without",
        vm(nics=[VLAN]),
        options={"networks": {"*": "ovs:br0"}},
        facts=bridges("ovs_bridges"),
    ),
    OnVsphere(
        "network_mtu_smaller",
        "a bridge that takes smaller packets than the switch",
        vm(),
        options={"networks": {"*": "bridge:br0"}},
        facts=bridges("bridges", 1400),
    ),
    OnVsphere("devices_left_behind", "a floppy drive", vm(floppy=True)),
    OnVsphere("cpu_reservation_is_lost", "a reservation of CPU time", vm(cpu_reservation_mhz=500)),
    OnVsphere("memory_reservation_is_lost", "a reservation of a part of the memory", vm(memory_reservation_mib=512)),
    OnVsphere("memory_is_locked", "a reservation of all memory", vm(memory_reservation_mib=1024)),
    OnVsphere("hostdev_unknown", "a device that the VM does not have", vm(), options=given(PCI)),
    OnVsphere("hostdev_invalid", "an address that is none", vm(passthrough=("pci",)), options=given("3b:00")),
    OnVsphere(
        "hostdev_missing", "a device that the target does not have", vm(passthrough=("pci",)), options=given(PCI)
    ),
    OnVsphere(
        "hostdev_without_iommu",
        "a device of a host whose IOMMU is off",
        vm(passthrough=("pci",)),
        options=given(PCI),
        facts={"host": {"devices": {PCI: False}}},
    ),
    OnVsphere(
        "hostdev_in_use",
        "a device that another domain has",
        vm(passthrough=("pci",)),
        options=given(PCI),
        facts={"host": {"devices": {PCI: True}}, **domain(hostdevs=[PCI])},
    ),
    OnVsphere("passthrough_left_behind", "a device that shall stay", vm(passthrough=("pci",)), options=given("none")),
    OnVsphere(
        "profile_without_kvm",
        "the profile latency, and no KVM",
        vm(),
        options=LATENCY,
        facts=host() | {"accelerator": "tcg"},
    ),
    OnVsphere(
        "profile_needs_direct_io",
        "the profile latency, and a pool that knows the page cache only",
        vm(),
        options=LATENCY,
        facts=host() | pool(direct_io=False),
    ),
    OnVsphere(
        "profile_needs_check",
        "the profile latency, and a host that was not looked at",
        vm(),
        options=LATENCY,
        facts={"accelerator": "kvm"},
    ),
    OnVsphere("profile_needs_cpus", "the profile latency, and too few CPUs", vm(), options=LATENCY, facts=host(0)),
    OnVsphere(
        "profile_needs_huge_pages",
        "the profile latency, and too few huge pages",
        vm(),
        options=LATENCY,
        facts=host(pages=0),
    ),
    OnVsphere(
        "profile_shares_cpus",
        "the profile latency, and CPUs that others are pinned to",
        vm(),
        options=LATENCY,
        facts=host(0, 1) | domain(pinned=[0, 1]),
    ),
    OnVsphere("ksm_is_off", "the profile density, and KSM switched off", vm(), options=DENSITY, facts=host(ksm="off")),
    OnVsphere("ksm_is_off", "the profile density, and a kernel without KSM", vm(), options=DENSITY, facts=host()),
    OnVsphere(
        "profile_without_balloon",
        "the profile density, and a guest that is not converted",
        vm(),
        options={**DENSITY, "converter": "compat"},
        facts=host(ksm="on"),
        also=("compat_hardware",),
    ),
)
