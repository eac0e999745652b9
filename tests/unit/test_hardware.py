"""The hardware table, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import InvalidRequest
from app.domain.hardware import device_name, hardware_for
from app.domain.models import VM, Disk, Hardware, ImageOptions, Move, Nic, TargetSpec
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
    assert [(n.mac, n.model, n.network, n.link_up) for n in hw.nics] == [
        ("00:50:56:8a:50:10", "virtio", "lan", True),
        ("00:50:56:8a:50:11", "virtio", "other", False),
    ]


def test_disk_only_gets_what_needs_no_new_driver() -> None:
    hw = hardware(strategy="disk_only")
    assert [(d.bus, d.device) for d in hw.disks] == [("sata", "sda"), ("sata", "sdb")]
    assert {n.model for n in hw.nics} == {"e1000e"}


@pytest.mark.parametrize(
    ("cpus", "per_socket", "topology"), [(4, 2, (2, 2)), (1, 1, (1, 1)), (6, 4, (6, 1)), (2, 4, (2, 1))]
)
def test_cpus_keep_their_sockets_where_they_divide(cpus: int, per_socket: int, topology: tuple[int, int]) -> None:
    hw = hardware(make_vm(cpus=cpus, cores_per_socket=per_socket))
    assert (hw.cpus, hw.sockets, hw.cores) == (cpus, *topology)


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
    assert set(Hardware.model_fields) - hw.model_fields_set == {"machine"}
