"""The domain XML: golden files, and what hostile values do. That libvirt takes it is a component test.

`pytest tests/unit/test_libvirt_xml.py --regenerate` writes the golden files anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

import app.domain.hardware as table
from app.domain.errors import InvalidRequest
from app.domain.hardware import hardware_for
from app.domain.hardware.case import Case
from app.domain.hardware.model import Hardware, NumaCell, TargetDisk, TargetNic
from app.domain.host import Host, HostNode
from app.domain.hostdevs import HostDevice
from app.domain.libvirt_xml import NAMESPACE, domain_xml
from app.domain.models import VM, Disk, ImageOptions
from app.domain.networks import Attachment, Bandwidth
from app.domain.value import Value
from tests.unit.moves import UUID, make_move, make_vm

Rule = Callable[[Case], dict[str, Any]]
GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "</name>&\"'<x/>$(touch p)`;-rf ../ü"


HOST = Host(
    nodes=(
        HostNode(id=0, cpus=(0, 1, 2, 3), memory_bytes=32 << 30, huge_pages={2048: 4096, 1 << 20: 0}),
        HostNode(id=1, cpus=(4, 5, 6, 7), memory_bytes=32 << 30, huge_pages={2048: 4096, 1 << 20: 4}),
    )
)


def nics(**changes: Any) -> VM:
    """A VM whose cards have these differences."""
    return make_vm(nics=tuple(nic.model_copy(update=changes) for nic in make_vm().nics))


def given(vm: VM | None = None, **more: Any) -> dict[str, Any]:
    return {"vm": vm, **more}


def hardware(
    vm: Any = None,
    *,
    accelerator: Any = "kvm",
    serial_log: str = "",
    has_tpm: bool = False,
    host: Host = HOST,
    **options: Any,
) -> Hardware:
    move = make_move(vm, **options)
    return hardware_for(
        move,
        disk_paths=[f"/pool/vmferry-j1-{index}.qcow2" for index in range(len(move.vm.disks))],
        domain_uuid=UUID,
        accelerator=accelerator,
        serial_log=serial_log,
        has_tpm=has_tpm,
        host=HOST,
    )


GIVEN: dict[str, dict[str, Any]] = {
    "cold": given(serial_log="/var/log/libvirt/qemu/vmferry-j1-serial.log"),
    "disk_only": given(strategy="disk_only"),
    "raw": given(image=ImageOptions(format="raw", discard=False)),
    "efi_tcg": given(make_vm(firmware="efi"), accelerator="tcg"),
    "efi_secure_windows": given(
        make_vm(firmware="efi", secure_boot=True, guest_id="windows2019srv_64Guest", tpm=True), has_tpm=True
    ),
    "compat": given(make_vm(cdroms=1, sound=True), converter="compat"),
    "limits": given(
        make_vm(
            cpu_hot_add=True,
            cpu_shares=8000,
            cpu_limit_mhz=4000,
            host_mhz=2000,
            memory_limit_bytes=1 << 30,
            cdroms=1,
            disks=(
                Disk(key=2000, label="a", capacity_bytes=1 << 30, iops_limit=500),
                Disk(key=2001, label="b", capacity_bytes=1 << 30),
            ),
        )
    ),
    "latency": given(make_vm(cpus=2), profile="latency"),
    "latency_numa": given(make_vm(numa_nodes=2, memory_bytes=4 << 30), profile="latency"),
    "latency_many_disks": given(
        make_vm(cpus=1, nics=(), disks=tuple(Disk(key=n, label="d", capacity_bytes=1 << 30) for n in range(17))),
        profile="latency",
    ),
    "latency_unconverted": given(profile="latency", converter="compat"),
    "density": given(profile="density"),
    "room_to_grow": given(make_vm(cpu_hot_add=True, memory_hot_add=True, memory_reservation_bytes=2 << 30)),
    "bridge": given(nics(sends=Bandwidth(average=1 << 20, peak=2 << 20, burst=512)), networks={"*": "bridge:br0"}),
    "ovs": given(nics(receives=Bandwidth(average=1 << 20)), networks={"VM Network": "ovs:br1@42", "*": "ovs:br1"}),
    "macvtap": given(nics(sends=Bandwidth(average=500)), networks={"*": "macvtap:eth0"}),
    "hostdevs": given(
        nics(vlan=42).model_copy(update={"passthrough": ("PCI device 0", "PCI device 1", "Network adapter 1")}),
        hostdevs={
            "PCI device 0": "0000:3b:00.1",
            "PCI device 1": "c0b26072-dd1b-4340-84fe-bf338c510818",
            "Network adapter 1": "0000:5e:02.3",
        },
    ),
    "many_disks": given(
        make_vm(
            disks=tuple(Disk(key=2000 + n, label=f"Hard disk {n}", capacity_bytes=1 << 30) for n in range(17)), cdroms=1
        )
    ),
}

CASES = {name: hardware(**arguments) for name, arguments in GIVEN.items()}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / f"{name}.xml"
    if request.config.getoption("--regenerate", default=False):
        path.write_text(domain_xml(CASES[name]))
    assert domain_xml(CASES[name]) == path.read_text()


def changed_without(monkeypatch: pytest.MonkeyPatch, keep: Callable[[Rule, str], bool]) -> list[str]:
    """The cases whose domain differs, or cannot be made, when the rules set only the fields that `keep` says."""

    def part(rule: Rule) -> Rule:
        return lambda case: {field: value for field, value in rule(case).items() if keep(rule, field)}

    monkeypatch.setattr(table, "RULES", tuple(part(rule) for rule in table.RULES))
    changed = []
    for name, arguments in GIVEN.items():
        try:
            same = domain_xml(hardware(**arguments)) == (GOLDEN / f"{name}.xml").read_text()
        except ValidationError:
            same = False
        if not same:
            changed.append(name)
    return changed


@pytest.mark.parametrize("rule", table.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_matters(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed_without(monkeypatch, lambda other, _field: other is not rule)


@pytest.mark.parametrize("field", sorted(set(Hardware.model_fields) - {"machine"}))
def test_each_field_of_a_rule_matters(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed_without(monkeypatch, lambda _rule, other: other != field)


def test_with_all_rules_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed_without(monkeypatch, lambda _rule, _field: True) == []


def test_there_is_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.xml")} == set(CASES)


CHANGES: dict[str, Any] = {
    "uuid": UUID.replace("4", "5"),
    "name": "other",
    "job_id": "j2",
    "title": "other",
    "accelerator": "tcg",
    "machine": "pc",
    "firmware": "efi",
    "secure_boot": True,
    "unconverted": True,
    "tpm": True,
    "hyperv": True,
    "sound": True,
    "hostdevs": (HostDevice(kind="pci", address="0000:3b:00.0"),),
    "clock": "localtime",
    "cpus": 5,
    "sockets": 4,
    "cores": 4,
    "cpu_weight": 200,
    "cpu_share": 0.5,
    "pins": (0, 1),
    "helper_cpus": (2, 3),
    "host_nodes": (1,),
    "cells": (NumaCell(first_cpu=0, cpus=4, memory_bytes=2 << 30),),
    "memory_bytes": (2 << 30) + 1,
    "memory_most": 4 << 30,
    "memory_pages_kib": (2048,),
    "memory_locked": True,
    "memory_merged": False,
    "memory_soft_limit": 1 << 20,
    "balloon": "eager",
    "io_threads": 2,
    "cdroms": ("sda",),
    "disks": (),
    "nics": (),
    "serial_log": "/log",
}


@pytest.mark.parametrize("field", Hardware.model_fields)
def test_every_field_of_hardware_reaches_the_xml(field: str) -> None:
    base = hardware(make_vm(firmware="efi" if field == "secure_boot" else "bios"))
    assert domain_xml(base.model_copy(update={field: CHANGES[field]})) != domain_xml(base)


DISK = TargetDisk(path="/0", bus="virtio", device="vda", serial="s")
NIC = TargetNic(mac="00:50:56:00:00:01", attachment=Attachment(kind="network", name="lan"), model="virtio")
PARTS: dict[str, tuple[Value, dict[str, Any]]] = {
    "disks": (
        DISK,
        {
            "path": "/1",
            "format": "raw",
            "discard": False,
            "bus": "scsi",
            "device": "vdb",
            "serial": "t",
            "iops_limit": 5,
            "direct": True,
            "thread": 1,
        },
    ),
    "nics": (
        NIC,
        {
            "mac": "00:50:56:00:00:02",
            "attachment": Attachment(kind="bridge", name="lan"),
            "model": "e1000e",
            "link_up": False,
            "queues": 2,
            "sends": Bandwidth(average=5),
            "receives": Bandwidth(average=5),
        },
    ),
}


@pytest.mark.parametrize(
    ("part", "field"), [(part, field) for part in PARTS for field in type(PARTS[part][0]).model_fields]
)
def test_every_field_of_a_part_reaches_the_xml(part: str, field: str) -> None:
    plain, changes = PARTS[part]
    before, after = (
        domain_xml(hardware().model_copy(update={part: (found,)}))
        for found in (plain, plain.model_copy(update={field: changes[field]}))
    )
    assert before != after


def test_hostile_values_stay_values() -> None:
    hw = hardware(make_vm(name=HOSTILE), target_name=HOSTILE)
    plug = Attachment(kind="network", name=HOSTILE)
    hw = hw.model_copy(update={"nics": tuple(nic.model_copy(update={"attachment": plug}) for nic in hw.nics)})
    root = ElementTree.fromstring(domain_xml(hw))
    assert root.findtext("name") == HOSTILE
    assert {source.get("network") for source in root.findall("devices/interface/source")} == {HOSTILE}
    assert len(root.findall("name")) == 1
    assert not list(root.iter("x"))


@pytest.mark.parametrize("character", ["\0", "\x1b", "\ud800", "\uffff"])
def test_characters_that_xml_cannot_carry_are_refused(character: str) -> None:
    hw = hardware().model_copy(update={"name": f"web{character}01"})
    with pytest.raises(InvalidRequest, match="name"):
        domain_xml(hw)


def test_a_vm_without_a_name_has_no_title() -> None:
    assert "<title" not in domain_xml(hardware().model_copy(update={"title": ""}))


def test_it_says_whose_it_is_in_our_namespace() -> None:
    job = ElementTree.fromstring(domain_xml(hardware())).find(f"metadata/{{{NAMESPACE}}}job")
    assert job is not None
    assert job.attrib == {"id": "j1"}


def test_the_console_listens_on_this_machine_only() -> None:
    assert re.findall(r'listen="([^"]*)"', domain_xml(hardware())) == ["127.0.0.1"]


def test_an_unconverted_guest_gets_no_virtio_device() -> None:
    assert "virtio" not in domain_xml(hardware(strategy="disk_only"))
