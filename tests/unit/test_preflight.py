"""Each rule of preflight: what it finds, and that it finds nothing in an ordinary VM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import preflight
from app.domain.host import Host, HostNode
from app.domain.models import VM, Concern, Disk, Domain, ImageOptions, Nic, Pool, TargetFacts, TargetSpec
from app.domain.move import Move, MoveOptions, Reservation
from app.preflight import domain_name

GIB = 1 << 30
UUID = "4200c1d2-0000-4000-8000-00000000002a"

DISK: dict[str, Any] = {"key": 2000, "label": "Hard disk 1", "capacity_bytes": 10 * GIB, "path": "[ds] web/web.vmdk"}
POOL: dict[str, Any] = {
    "name": "default",
    "type": "dir",
    "path": "/pool",
    "active": True,
    "capacity_bytes": 100 * GIB,
    "free_bytes": 50 * GIB,
}
NODE: dict[str, Any] = {"id": 0, "cpus": (0, 1, 2, 3), "memory_bytes": 64 * GIB, "huge_pages": {2048: 512}}
LATENCY: dict[str, Any] = {"profile": "latency"}
DENSITY: dict[str, Any] = {"profile": "density"}
GPU, MDEV = "0000:3b:00.0", "c0b26072-dd1b-4340-84fe-bf338c510818"
WINDOWS: dict[str, Any] = {"guest_id": "windows2019srv_64Guest"}
AT_HAND: dict[str, Any] = {"drivers": ("2k16/amd64", "2k19/amd64", "w10/amd64"), "agents": ("amd64",), "runner": True}
NIC: dict[str, Any] = {"key": 4000, "label": "Network adapter 1", "mac": "00:50:56:00:00:01", "network": "VM Network"}


def judge(
    vm: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    networks: dict[str, str] | None = None,
    reserved: tuple[Reservation, ...] = (),
    image: dict[str, Any] | None = None,
) -> list[Concern]:
    """The findings for an ordinary VM and target, with these differences."""
    plain: dict[str, Any] = {
        "id": "vm-42",
        "name": "web",
        "uuid": UUID,
        "power_state": "on",
        "memory_bytes": GIB,
        "guest_id": "debian12_64Guest",
        "tools": "running",
        "disks": (Disk(**DISK),),
        "nics": (Nic(**NIC),),
    }
    seen: dict[str, Any] = {
        "pools": (Pool(**POOL),),
        "networks": ("lan",),
        "tools": {"virt-v2v-in-place": "2.2.0"},
    }
    target = TargetSpec(
        id="t",
        name="kvm1",
        image=ImageOptions.model_validate(image or {}),
        networks={"*": "lan"} if networks is None else networks,
    )
    move = Move.of(
        "j1", VM.model_validate(plain | (vm or {})), target, MoveOptions.model_validate(options or {}), reserved
    )
    return preflight.run(move, TargetFacts.model_validate(seen | (facts or {})))


def reserve(*sizes: int) -> dict[str, Any]:
    """Other jobs, db0, db1, …, that will still write so many GiB."""
    return {"reserved": tuple(Reservation(job=f"job{n}", vm=f"db{n}", bytes=gib * GIB) for n, gib in enumerate(sizes))}


def codes(found: list[Concern]) -> list[tuple[str, str]]:
    return [(concern.severity, concern.code) for concern in found]


def disk(**changes: Any) -> dict[str, Any]:
    return {"disks": (Disk(**DISK | changes),)}


def many_disks(count: int) -> dict[str, Any]:
    small = DISK | {"capacity_bytes": GIB}
    return {"disks": tuple(Disk(**small | {"key": 2000 + index}) for index in range(count))}


def pool(**changes: Any) -> dict[str, Any]:
    return {"pools": (Pool(**POOL | changes),)}


def windows(v2v: str = "2.2.0", **changes: Any) -> dict[str, Any]:
    """A worker that has all for Windows, with these differences."""
    return {"tools": {"virt-v2v-in-place": v2v, "virtio-win": "/vw"}, "windows": AT_HAND | changes}


def domain(**fields: Any) -> dict[str, Any]:
    return {"domains": (Domain(**{"uuid": "other", "name": "other"} | fields),)}


def host(ksm: str = "on", **changes: Any) -> dict[str, Any]:
    """A host of one node."""
    return {"host": Host.model_validate({"nodes": (HostNode(**NODE | changes),), "ksm": ksm})}


def bridges(**kinds: dict[str, int]) -> dict[str, Any]:
    return {"host": Host.model_validate(kinds)}


def asked_pool(**changes: Any) -> dict[str, Any]:
    """A move that asks for another pool than the target's own, which is fine."""
    both = (Pool(**POOL), Pool(**POOL | {"name": "ssd"} | changes))
    return {"options": {"pool": "ssd"}, "facts": {"pools": both}}


def nic(**changes: Any) -> dict[str, Any]:
    return {"nics": (Nic(**NIC | changes),)}


def passed(device: str, *labels: str, domains: tuple[Domain, ...] = ()) -> dict[str, Any]:
    """A VM with devices of its host's, for which this one of the target's is given."""
    labels = labels or ("PCI device 0",)
    return {
        "vm": {"passthrough": labels},
        "options": {"hostdevs": dict.fromkeys(labels, device)},
        "facts": {"host": Host(devices={GPU: True, MDEV: True, "0000:00:1f.0": False}), "domains": domains},
    }


def test_an_ordinary_vm_raises_no_concern() -> None:
    assert judge() == []


@pytest.mark.parametrize(
    ("code", "severity", "given"),
    [
        ("vm_is_template", "blocker", {"vm": {"template": True}}),
        ("vm_is_suspended", "blocker", {"vm": {"power_state": "suspended"}, "options": {"power_on": True}}),
        ("tools_not_running", "blocker", {"vm": {"tools": "not_running"}}),
        ("tools_not_running", "blocker", {"vm": {"tools": "not_installed"}}),
        ("power_off_is_hard", "warning", {"vm": {"tools": "not_running"}, "options": {"force_power_off": True}}),
        ("vm_has_no_disks", "blocker", {"vm": {"disks": ()}}),
        ("disk_is_rdm", "blocker", {"vm": disk(backing="rdm_virtual")}),
        ("disk_is_rdm", "blocker", {"vm": disk(backing="rdm_physical")}),
        ("disk_backing_unknown", "blocker", {"vm": disk(backing="other")}),
        ("disk_is_independent", "blocker", {"vm": disk(mode="independent_persistent")}),
        ("disk_is_independent", "blocker", {"vm": disk(mode="independent_nonpersistent")}),
        ("disk_is_shared", "blocker", {"vm": disk(sharing="multi_writer")}),
        ("disk_is_shared", "blocker", {"vm": disk(sharing="bus")}),
        ("disk_is_encrypted", "blocker", {"vm": disk(encrypted=True)}),
        ("vm_is_encrypted", "blocker", {"vm": {"encrypted": True}}),
        ("tpm_may_hold_keys", "blocker", {"vm": {"tpm": True}}),
        ("tpm_is_left_behind", "warning", {"vm": {"tpm": True}, "options": {"leave_tpm": True}}),
        ("fault_tolerance_is_on", "blocker", {"vm": {"fault_tolerance": True}}),
        ("passthrough_device", "blocker", {"vm": {"passthrough": ("PCI device 0",)}}),
        ("hostdev_unknown", "blocker", {"options": {"hostdevs": {"GPU": "none"}}}),
        ("hostdev_invalid", "blocker", passed("3b:00.0")),
        ("hostdev_invalid", "blocker", passed(MDEV, "Network adapter 1")),
        ("hostdev_missing", "blocker", passed("0000:3c:00.0")),
        ("hostdev_without_iommu", "blocker", passed("0000:00:1f.0")),
        ("hostdev_in_use", "blocker", passed(MDEV, domains=(Domain(uuid="u", name="n", hostdevs=(MDEV,)),))),
        ("hostdev_in_use", "blocker", passed(GPU, "PCI device 0", "PCI device 1")),
        ("passthrough_left_behind", "info", passed("none")),
        ("devices_left_behind", "info", {"vm": {"left_behind": ("Floppy drive 1",)}}),
        ("snapshots_are_flattened", "info", {"vm": {"snapshots": ("before update",)}}),
        ("pool_missing", "blocker", {"facts": {"pools": ()}}),
        ("pool_unknown", "blocker", {"options": {"pool": "ssd"}}),
        ("pool_full", "blocker", asked_pool(free_bytes=GIB - 1)),
        ("pool_inactive", "blocker", asked_pool(active=False)),
        ("pool_inactive", "blocker", {"facts": pool(active=False)}),
        ("pool_type_unsupported", "blocker", {"facts": pool(type="logical")}),
        ("pool_may_fill_up", "warning", {"facts": pool(free_bytes=5 * GIB)}),
        ("pool_may_fill_up", "warning", reserve(41)),
        ("pool_full", "blocker", {"facts": pool(free_bytes=GIB - 1)}),
        ("pool_full", "blocker", {"facts": pool(free_bytes=GIB - 1)} | reserve(41)),
        ("pool_is_reserved", "blocker", reserve(30, 20)),
        ("pool_is_reserved", "blocker", reserve(41) | {"image": {"preallocation": "full"}}),
        ("pool_full", "blocker", {"facts": pool(free_bytes=9 * GIB), "image": {"preallocation": "falloc"}}),
        ("pool_may_fill_up", "warning", {"facts": pool(free_bytes=9 * GIB), "image": {"preallocation": "metadata"}}),
        ("network_not_mapped", "blocker", {"networks": {"Other": "lan"}}),
        ("network_missing", "blocker", {"networks": {"*": "gone"}}),
        ("network_missing", "blocker", {"options": {"networks": {"VM Network": "gone"}}}),
        ("network_missing", "blocker", {"networks": {"*": "bridge:br0"}}),
        ("network_missing", "blocker", {"networks": {"*": "ovs:br0"}, "facts": bridges(bridges={"br0": 1500})}),
        ("network_missing", "blocker", {"networks": {"*": "macvtap:br0"}, "facts": bridges(bridges={"br0": 1500})}),
        ("network_invalid", "blocker", {"networks": {"*": "bridge:-x"}}),
        ("network_invalid", "blocker", {"options": {"networks": {"VM Network": "bridge:br0@3"}}}),
        (
            "network_vlan_differs",
            "warning",
            {"networks": {"*": "ovs:br0@8"}, "facts": bridges(ovs_bridges={"br0": 1500}), "vm": nic(vlan=7)},
        ),
        (
            "network_vlan_differs",
            "warning",
            {"networks": {"*": "ovs:br0"}, "facts": bridges(ovs_bridges={"br0": 1500}), "vm": nic(vlan=7)},
        ),
        (
            "network_mtu_smaller",
            "warning",
            {"networks": {"*": "bridge:br0"}, "facts": bridges(bridges={"br0": 1500}), "vm": nic(mtu=9000)},
        ),
        ("domain_exists", "blocker", {"facts": domain(name="web")}),
        ("domain_exists", "blocker", {"facts": domain(name="new", job="j0"), "options": {"target_name": "new"}}),
        ("domain_uuid_exists", "blocker", {"facts": domain(uuid=UUID.upper())}),
        ("converter_missing", "blocker", {"options": {"converter": "virt-v2v"}, "facts": {"tools": {}}}),
        ("native_is_better", "warning", {"vm": {"firmware": "efi"}, "options": {"converter": "virt-v2v"}}),
        ("native_is_for_linux", "blocker", {"vm": WINDOWS, "options": {"converter": "native"}}),
        ("compat_hardware", "warning", {"options": {"converter": "compat"}, "facts": {"tools": {}}}),
        ("guest_needs_compat", "blocker", {"vm": {"guest_id": "freebsd13_64Guest"}}),
        ("virtio_win_missing", "blocker", {"vm": WINDOWS}),
        ("virtio_win_lacks_guest", "blocker", {"vm": WINDOWS, "facts": windows(drivers=("w10/amd64", "2k19/x86"))}),
        ("virtio_win_lacks_guest", "blocker", {"vm": {"guest_id": "windows9Guest"}, "facts": windows(agents=("x86",))}),
        ("virtio_win_lacks_guest", "blocker", {"vm": {"guest_id": "windows11_64Guest"}, "facts": windows("2.6.0")}),
        ("virtio_win_lacks_guest", "blocker", {"vm": WINDOWS, "facts": windows(drivers=())}),
        ("windows_runner_missing", "blocker", {"vm": WINDOWS, "facts": windows(runner=False)}),
        ("windows_agent_missing", "info", {"vm": WINDOWS, "facts": windows(agents=("x86",))}),
        ("windows_disks_need_newer_virt_v2v", "blocker", {"vm": WINDOWS | many_disks(17), "facts": windows()}),
        ("guest_may_not_convert", "warning", {"vm": {"guest_id": "otherLinux64Guest"}}),
        ("guest_may_not_convert", "warning", {"vm": {"guest_id": ""}}),
        ("profile_without_kvm", "warning", {"options": LATENCY, "facts": host() | {"accelerator": "tcg"}}),
        ("profile_needs_direct_io", "blocker", {"options": LATENCY, "facts": host() | pool(direct_io=False)}),
        ("profile_needs_check", "blocker", {"options": LATENCY}),
        ("profile_needs_cpus", "blocker", {"options": LATENCY, "facts": host(), "vm": {"cpus": 5}}),
        ("profile_needs_huge_pages", "blocker", {"options": LATENCY, "facts": host(huge_pages={2048: 511})}),
        ("profile_needs_huge_pages", "blocker", {"options": LATENCY, "facts": host(huge_pages={})}),
        ("profile_shares_cpus", "warning", {"options": LATENCY, "facts": host() | domain(pinned=(0, 1, 2, 3))}),
        ("ksm_is_off", "warning", {"options": DENSITY, "facts": host("off")}),
        ("ksm_is_off", "warning", {"options": DENSITY, "facts": host("missing")}),
        ("cpu_reservation_is_lost", "info", {"vm": {"cpu_reservation_mhz": 500}}),
        ("memory_reservation_is_lost", "info", {"vm": {"memory_reservation_bytes": GIB - 1}}),
        (
            "memory_reservation_is_lost",
            "info",
            {"vm": {"memory_reservation_bytes": GIB}, "options": DENSITY, "facts": host()},
        ),
        ("memory_is_locked", "info", {"vm": {"memory_reservation_bytes": GIB}}),
        ("boot_not_checked", "info", {"vm": {"power_state": "off"}}),
        ("boot_not_checked", "info", {"options": {"power_on": False}}),
    ],
)
def test_what_each_rule_finds(code: str, severity: str, given: dict[str, Any]) -> None:
    found = judge(**given)
    assert codes(found) == [(severity, code)]
    assert found[0].cause
    assert found[0].remedy


@pytest.mark.parametrize(
    "given",
    [
        {"facts": domain(name="web", uuid=UUID, job="j1")},  # what an earlier run of this job defined
        {"facts": pool(free_bytes=10 * GIB)},
        reserve(30, 10),
        {"facts": pool(type="netfs")},
        {"networks": {"VM Network": "lan"}},
        {"networks": {}, "options": {"networks": {"VM Network": "lan"}}},
        {"vm": {"nics": ()}, "networks": {}},
        passed(GPU.upper()),
        passed(MDEV),
        passed(GPU, domains=(Domain(uuid="u", name="n", hostdevs=(GPU,), job="j1"),)),
        passed(GPU, "Network adapter 1") | {"networks": {}},  # the card needs no network then
        {"networks": {"*": "bridge:br0"}, "facts": bridges(bridges={"br0": 9000}), "vm": nic(vlan=7, mtu=9000)},
        {"networks": {"*": "ovs:br0@7"}, "facts": bridges(ovs_bridges={"br0": 1500}), "vm": nic(vlan=7, mtu=1500)},
        {"networks": {"*": "ovs:br0"}, "facts": bridges(ovs_bridges={"br0": 1500}), "vm": nic(vlan=4095)},
        {"networks": {"*": "macvtap:eth0"}, "facts": bridges(cards={"eth0": 1500})},
        {"vm": nic(mtu=9000)},  # of a libvirt network's bridge nothing is known
        {"vm": {"firmware": "efi"}},
        {"facts": {"tools": {}}},
        {"vm": {"firmware": "efi"}, "options": {"converter": "native"}},
        {"vm": {"firmware": "efi"}, "facts": {"tools": {"virt-v2v-in-place": "2.12.0"}}},
        {"vm": WINDOWS, "facts": windows()},
        {"vm": {"guest_id": "windows11_64Guest"}, "facts": windows()},  # virt-v2v 2.2 takes it for Windows 10
        {"vm": {"guest_id": "windows11_64Guest"}, "facts": windows("2.6.0", drivers=("w11/amd64",))},
        {"vm": {"guest_id": "windows9Server64Guest"}, "facts": windows(drivers=("2k22/amd64",))},
        {"vm": {"guest_id": "winSomething64Guest"}, "facts": windows(drivers=())},
        {"vm": WINDOWS | many_disks(16), "facts": windows()},
        {"vm": WINDOWS | many_disks(17), "facts": windows("2.6.0")},
        {"vm": {"power_state": "off", "tools": "not_running"}, "options": {"power_on": True}},
        {"vm": disk(backing="sparse")},
        {"options": LATENCY, "facts": host(), "vm": {"memory_reservation_bytes": GIB}},
        {"options": LATENCY, "facts": host() | domain(pinned=(0, 1, 2))},
        {"options": LATENCY, "facts": host() | domain(pinned=(0, 1, 2, 3), job="j1")},
        {"options": DENSITY, "facts": host()},
    ],
)
def test_what_is_no_concern(given: dict[str, Any]) -> None:
    assert judge(**given) == []


def test_an_unconverted_guest_has_no_balloon() -> None:
    found = judge(options=DENSITY | {"converter": "compat"}, facts=host() | {"tools": {}})
    assert codes(found) == [("warning", "profile_without_balloon"), ("warning", "compat_hardware")]


def test_what_latency_lacks_is_said_with_a_figure() -> None:
    (found,) = judge(options=LATENCY, facts=host(huge_pages={2048: 128}))
    assert "needs 1.0 GiB of huge pages on node 0 of kvm1, which has 256 MiB" in found.cause
    assert "512 more than are in use, in /sys/devices/system/node/node0/hugepages" in found.remedy
    (found,) = judge(options=LATENCY, facts=host(), vm={"cpus": 8, "numa_nodes": 2})
    assert "needs 4 CPUs on each of 2 nodes; the NUMA nodes of kvm1 have 4" in found.cause


def test_disk_only_asks_nothing_of_the_converter() -> None:
    found = judge(
        vm={"guest_id": "windows9_64Guest", "firmware": "efi"},
        options={"strategy": "disk_only"},
        facts={"tools": {}},
    )
    assert codes(found) == [("info", "boot_not_checked")]


def test_a_missing_network_is_told_once() -> None:
    nics = tuple(Nic(**NIC | {"key": key}) for key in (4000, 4001))
    assert codes(judge(vm={"nics": nics}, networks={})) == [("blocker", "network_not_mapped")]
    assert codes(judge(vm={"nics": nics}, networks={"*": "gone"})) == [("blocker", "network_missing")]


def test_a_network_without_a_map_is_told_with_its_vlan() -> None:
    assert "On VMware it is VLAN 7." in judge(vm=nic(vlan=7), networks={})[0].remedy
    assert all("On VMware" not in judge(vm=nic(vlan=vlan), networks={})[0].remedy for vlan in (0, 4095))


def test_what_the_source_itself_has_to_say_is_passed_on() -> None:
    told = Concern(code="manifest_missing", severity="info", cause="there is no manifest", remedy="Make one.")
    assert judge(vm={"concerns": (told,)}) == [told]


def test_a_vm_in_a_package_needs_neither_tools_nor_a_shutdown() -> None:
    """Off, without Tools, with a sparse disk and without a host: nothing of that is in its way."""
    package = {"power_state": "off", "tools": "not_installed", **disk(backing="sparse", thin=True)}
    assert codes(judge(vm=package)) == [("info", "boot_not_checked")]
    assert codes(judge(vm=package, options={"power_on": True})) == []


def test_every_disk_is_judged() -> None:
    disks = (Disk(**DISK), Disk(**DISK | {"key": 2001, "label": "Hard disk 2", "backing": "rdm_physical"}))
    found = judge(vm={"disks": disks})
    assert codes(found) == [("blocker", "disk_is_rdm")]
    assert "Hard disk 2" in found[0].cause


def test_who_has_reserved_the_room_is_named() -> None:
    (found,) = judge(**reserve(30, 20))
    assert "50.0 GiB are reserved by job job0 (db0, 30.0 GiB), job job1 (db1, 20.0 GiB)" in found.cause
    (found,) = judge(**reserve(*[10] * 7))
    assert found.cause.endswith("job job4 (db4, 10.0 GiB) and 2 more")


def test_blockers_come_first() -> None:
    found = judge(vm={"snapshots": ("a",), "tpm": True, "template": True}, options={"leave_tpm": True})
    assert [concern.severity for concern in found] == ["blocker", "warning", "info"]


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../x", "a/b", "</name>", "-rf", "a\nb", "\x00", "a\x7f", "é" * 101, "\uffff"]
)
def test_names_that_no_domain_can_have(name: str) -> None:
    assert domain_name.fault(name)
    assert codes(judge(vm={"name": name})) == [("blocker", "domain_name_invalid")]
    if name:
        assert judge(vm={"name": name}, options={"target_name": "plain"}) == []


@pytest.mark.parametrize("name", ["web", "$(touch p)", "<name>", "é" * 80, "a b", "..x", "日本語", "it's; rm"])
def test_names_that_are_odd_and_fine(name: str) -> None:
    assert domain_name.fault(name) == ""


def test_each_rule_file_is_run() -> None:
    files = {path.stem for path in Path(preflight.__file__).parent.glob("*.py")} - {"__init__"}
    assert {rule.__module__.rpartition(".")[2] for rule in preflight.RULES} == files
