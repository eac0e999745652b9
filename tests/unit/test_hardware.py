"""The hardware table, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import InvalidRequest
from app.domain.hardware import RULES, hardware_for
from app.domain.hardware.case import Case
from app.domain.hardware.disks import device_name
from app.domain.hardware.model import Hardware
from app.domain.hostdevs import HostDevice
from app.domain.models import VM, Disk, ImageOptions, Nic, TargetSpec
from app.domain.move import Move
from app.domain.networks import Attachment, Bandwidth
from tests.service import ROOT
from tests.unit.moves import UUID, make_move, make_vm

PATHS = ("/pool/0.qcow2", "/pool/1.qcow2")


def hardware(vm: VM | None = None, **options: Any) -> Hardware:
    move = make_move(vm, **options)
    return hardware_for(move, disk_paths=PATHS[: len(move.vm.disks)], domain_uuid=UUID)


def test_a_converted_guest_gets_virtio_in_the_sources_order() -> None:
    hw = hardware()
    assert [(d.path, d.bus, d.device) for d in hw.disks] == [
        ("/pool/0.qcow2", "virtio", "vda"),
        ("/pool/1.qcow2", "virtio", "vdb"),
    ]
    assert [(n.mac, n.model, str(n.attachment), n.link_up) for n in hw.nics] == [
        ("00:50:56:8a:50:10", "virtio", "lan", True),
        ("00:50:56:8a:50:11", "virtio", "other", False),
    ]


@pytest.mark.parametrize("options", [{"strategy": "disk_only"}, {"converter": "compat"}])
def test_an_unconverted_guest_gets_what_needs_no_new_driver(options: dict[str, Any]) -> None:
    hw = hardware(**options)
    assert [(d.bus, d.device) for d in hw.disks] == [("sata", "sda"), ("sata", "sdb")]
    assert {n.model for n in hw.nics} == {"e1000e"}


@pytest.mark.parametrize(
    ("cpus", "per_socket", "topology"), [(4, 2, (2, 2)), (1, 1, (1, 1)), (6, 4, (6, 1)), (2, 4, (2, 1))]
)
def test_cpus_keep_their_sockets_where_they_divide(cpus: int, per_socket: int, topology: tuple[int, int]) -> None:
    hw = hardware(make_vm(cpus=cpus, cores_per_socket=per_socket))
    assert (hw.cpus, hw.sockets, hw.cores) == (cpus, *topology)


def test_cpus_and_memory_that_are_asked_for_come_instead_of_the_sources() -> None:
    hw = hardware(make_vm(cpus=4, cores_per_socket=2, numa_nodes=2, memory_hot_add=True), cpus=6, memory_bytes=3 << 30)
    assert (hw.cpus, hw.sockets, hw.cores, hw.memory_bytes, hw.memory_most) == (6, 3, 2, 3 << 30, 12 << 30)
    assert [(cell.cpus, cell.memory_bytes) for cell in hw.cells] == [(3, 3 << 29), (3, 3 << 29)]
    odd = hardware(make_vm(cpus=4, cores_per_socket=2, numa_nodes=2), cpus=3)
    assert (odd.cpus, odd.sockets, odd.cores, odd.cells, odd.memory_bytes) == (3, 3, 1, (), 2 << 30)


@pytest.mark.parametrize(("shares", "weight"), [(None, None), (8000, 200), (2, 1)])
def test_the_weight_of_a_cpu_stays_with_more_of_them(shares: int | None, weight: int | None) -> None:
    vm = make_vm(cpus=4, cpu_shares=shares)
    assert hardware(vm).cpu_weight == hardware(vm, cpus=16).cpu_weight == weight


@pytest.mark.parametrize(("reserved", "locked"), [(2 << 30, True), (1 << 30, False)])
def test_memory_that_was_reserved_in_full_still_is(reserved: int, locked: bool) -> None:
    vm = make_vm(memory_reservation_bytes=reserved)
    assert hardware(vm).memory_locked is hardware(vm, memory_bytes=4 << 30).memory_locked is locked


def test_where_cpus_could_be_added_there_is_room() -> None:
    hw = hardware(make_vm(cpus=4, cores_per_socket=2, cpu_hot_add=True))
    assert (hw.cpus, hw.sockets * hw.cores, hw.cores) == (4, 16, 2)


@pytest.mark.parametrize(("shares", "weight"), [(None, None), (2000, 50), (8000, 200), (4_000_000, 10_000), (1, 1)])
def test_shares_are_a_weight(shares: int | None, weight: int | None) -> None:
    assert hardware(make_vm(cpus=4, cpu_shares=shares)).cpu_weight == weight


@pytest.mark.parametrize(
    ("limit", "mhz", "share"), [(None, 2500, None), (5000, 2500, 0.5), (10_000, 2500, None), (5000, 0, None)]
)
def test_a_limit_in_mhz_is_a_share_of_each_cpu(limit: int | None, mhz: int, share: float | None) -> None:
    assert hardware(make_vm(cpus=4, cpu_limit_mhz=limit, host_mhz=mhz)).cpu_share == share


def test_a_memory_limit_is_a_soft_one() -> None:
    vm = {"memory_bytes": 4 << 30}
    assert hardware(make_vm(**vm, memory_limit_bytes=1 << 30)).memory_soft_limit == 1 << 30
    assert hardware(make_vm(**vm, memory_limit_bytes=4 << 30)).memory_soft_limit is None


def test_a_tpm_is_made_where_there_was_one_and_one_can_be() -> None:
    def has(tpm: bool, host: bool) -> bool:
        move = make_move(make_vm(tpm=tpm))
        return hardware_for(move, disk_paths=PATHS, domain_uuid=UUID, has_tpm=host).tpm

    assert [has(tpm, host) for tpm in (True, False) for host in (True, False)] == [True, False, False, False]


def test_windows_is_told_of_its_hypervisor() -> None:
    move = make_move(make_vm(guest_id="windows2019srv_64Guest"))
    hyperv = [
        hardware_for(move, disk_paths=PATHS, domain_uuid=UUID, accelerator=accelerator).hyperv
        for accelerator in ("kvm", "tcg")
    ]
    assert hyperv == [True, False]
    assert not hardware().hyperv


def test_many_disks_go_to_virtio_scsi_in_their_order() -> None:
    def buses(count: int) -> list[tuple[str, str]]:
        vm = make_vm(disks=tuple(Disk(key=n, label="d", capacity_bytes=1) for n in range(count)))
        hw = hardware_for(make_move(vm), disk_paths=[f"/{n}" for n in range(count)], domain_uuid=UUID)
        return [(disk.bus, disk.device) for disk in hw.disks]

    assert buses(16)[-1] == ("virtio", "vdp")
    assert buses(17)[0] == ("scsi", "sda")
    assert buses(17)[-1] == ("scsi", "sdq")


@pytest.mark.parametrize("controller", ["pvscsi", "lsilogic", "lsisas", "buslogic", "ahci", "nvme", "ide", "unknown"])
def test_disks_of_every_controller_come_to_virtio_in_their_order(controller: str) -> None:
    disks = tuple(
        Disk(key=key, label="d", capacity_bytes=1, controller=kind) for key, kind in ((7, controller), (3, "pvscsi"))
    )
    hw = hardware(make_vm(disks=disks))
    assert [(disk.path, disk.bus, disk.device) for disk in hw.disks] == [
        (PATHS[0], "virtio", "vda"),
        (PATHS[1], "virtio", "vdb"),
    ]


@pytest.mark.parametrize(
    "adapter", ["vmxnet3", "vmxnet2", "vmxnet", "e1000e", "e1000", "pcnet32", "sriovethernetcard", "unknown"]
)
def test_cards_of_every_model_become_virtio(adapter: str) -> None:
    cards = tuple(nic.model_copy(update={"adapter": adapter}) for nic in make_vm().nics)
    assert {nic.model for nic in hardware(make_vm(nics=cards)).nics} == {"virtio"}


def test_a_disks_limit_is_kept() -> None:
    disks = (Disk(key=1, label="a", capacity_bytes=1, iops_limit=500), Disk(key=2, label="b", capacity_bytes=1))
    assert [disk.iops_limit for disk in hardware(make_vm(disks=disks)).disks] == [500, None]


def test_a_card_has_a_queue_for_each_cpu() -> None:
    assert {nic.queues for nic in hardware(make_vm(cpus=4)).nics} == {4}
    assert {nic.queues for nic in hardware(make_vm(cpus=64, cores_per_socket=1)).nics} == {8}
    assert {nic.queues for nic in hardware(converter="compat").nics} == {1}
    move = make_move()
    emulated = hardware_for(move, disk_paths=PATHS, domain_uuid=UUID, accelerator="tcg")
    assert {nic.queues for nic in emulated.nics} == {1}


def test_a_card_keeps_its_limits() -> None:
    limits = {"sends": Bandwidth(average=1000), "receives": Bandwidth(average=2000, peak=3000, burst=10)}
    limited = make_vm(nics=tuple(nic.model_copy(update=limits) for nic in make_vm().nics))
    assert [(nic.sends, nic.receives) for nic in hardware(limited).nics] == [tuple(limits.values())] * 2
    assert {(nic.sends, nic.receives) for nic in hardware().nics} == {(None, None)}


def test_a_card_is_plugged_in_where_the_jobs_map_says_then_the_targets() -> None:
    hw = hardware(networks={"VM Network": "ovs:br1@42"})
    assert [nic.attachment for nic in hw.nics] == [
        Attachment(kind="ovs", name="br1", vlan=42),
        Attachment(kind="network", name="other"),
    ]


def test_drives_come_after_the_disks_of_their_bus() -> None:
    assert hardware(make_vm(cdroms=2)).cdroms == ("sda", "sdb")
    assert hardware(make_vm(cdroms=1), converter="compat").cdroms == ("sdc",)


def test_devices_of_the_host_are_those_that_are_given() -> None:
    vm = make_vm(passthrough=("PCI device 0", "PCI device 1", "Network adapter 1"))
    given = {"PCI device 0": "0000:3b:00.0", "PCI device 1": "none", "Network adapter 1": "0000:5E:02.3"}
    hw = hardware(vm, hostdevs=given)
    assert hw.hostdevs == (HostDevice(kind="pci", address="0000:3b:00.0"),)
    assert [(nic.attachment.kind, nic.attachment.name) for nic in hw.nics] == [
        ("hostdev", "0000:5e:02.3"),
        ("network", "other"),
    ]
    left = hardware(vm, hostdevs=dict.fromkeys(given, "none"))
    assert (left.hostdevs, left.nics[0].attachment.kind) == ((), "network")
    with pytest.raises(InvalidRequest, match="mediated"):
        hardware(vm, hostdevs={"Network adapter 1": "c0b26072-dd1b-4340-84fe-bf338c510818"})


def test_a_sound_card_is_kept() -> None:
    assert [hardware(make_vm(sound=sound)).sound for sound in (True, False)] == [True, False]


def test_an_unconverted_guest_is_said_to_be_one() -> None:
    assert [hardware(**options).unconverted for options in ({}, {"converter": "compat"})] == [False, True]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_two_rules_set_the_same(rule: Any) -> None:
    case = Case(make_move(), PATHS, UUID, "kvm", "", has_tpm=True)
    others = {name for other in RULES if other is not rule for name in other(case)}
    assert rule(case)
    assert not others & set(rule(case))
    assert f"| {rule.__name__.replace('_', ' ')} |" in (ROOT / "docs" / "hardware.md").read_text()


def test_memory_firmware_and_clock_are_the_sources() -> None:
    hw = hardware(make_vm(firmware="efi", secure_boot=True, guest_id="windows2019srv_64Guest", memory_bytes=3 << 20))
    assert (hw.firmware, hw.secure_boot, hw.clock, hw.memory_bytes) == ("efi", True, "localtime", 3 << 20)
    assert not hardware(make_vm(firmware="bios", secure_boot=True)).secure_boot
    assert hardware().clock == "utc"


def test_names() -> None:
    hw = hardware(make_vm(name="web\n01"), target_name="web01-new")
    assert (hw.name, hw.title, hw.job_id, hw.uuid) == ("web01-new", "web 01", "j1", UUID)
    assert hardware().name == "web01"


def test_serials_fit_virtio_and_belong_to_the_vm() -> None:
    serials = [disk.serial for disk in hardware().disks]
    assert serials == ["42106f2c9a1b4c37-0", "42106f2c9a1b4c37-1"]
    many = make_vm(disks=tuple(Disk(key=n, label="d", capacity_bytes=1) for n in range(256)))
    hw = hardware_for(make_move(many), disk_paths=[f"/{n}" for n in range(256)], domain_uuid=UUID)
    assert max(len(disk.serial) for disk in hw.disks) <= 20
    assert len({disk.device for disk in hw.disks}) == len({disk.serial for disk in hw.disks}) == 256


@pytest.mark.parametrize(("index", "name"), [(0, "vda"), (25, "vdz"), (26, "vdaa"), (51, "vdaz"), (52, "vdba")])
def test_device_names(index: int, name: str) -> None:
    assert device_name("vd", index) == name


def test_an_unmapped_network_is_refused() -> None:
    vm = make_vm(nics=(Nic(key=1, label="Network adapter 1", mac="00:50:56:00:00:01", network="DMZ"),))
    move = Move(job_id="j1", vm=vm, target=TargetSpec(id="t1", name="kvm1", networks={"VM Network": "lan"}))
    with pytest.raises(InvalidRequest, match="DMZ"):
        hardware_for(move, disk_paths=PATHS, domain_uuid=UUID)


def test_each_disk_needs_its_file() -> None:
    with pytest.raises(InvalidRequest, match="2 disks"):
        hardware_for(make_move(), disk_paths=PATHS[:1], domain_uuid=UUID)


def test_disks_are_images_of_the_targets_kind() -> None:
    assert {(disk.format, disk.discard) for disk in hardware().disks} == {("qcow2", True)}
    raw = hardware(image=ImageOptions(format="raw", discard=False))
    assert {(disk.format, disk.discard) for disk in raw.disks} == {("raw", False)}
    assert make_move(image=ImageOptions(format="raw")).volume_name(1) == "vmferry-j1-1.raw"
    assert make_move().volume_name(0) == "vmferry-j1-0.qcow2"


def test_every_field_of_hardware_is_set_by_the_table() -> None:
    move = make_move(make_vm(firmware="efi", secure_boot=True, guest_id="windows9Guest"))
    hw = hardware_for(move, disk_paths=PATHS, domain_uuid=UUID, accelerator="tcg", serial_log="/log")
    assert set(Hardware.model_fields) - hw.model_fields_set == {"machine"}  # there is one only
