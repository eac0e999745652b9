"""What every Converter does: in memory, and the real ones on the lab's Debian. Each real conversion is made once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import guestfs
import pytest

from app.domain.errors import Cancelled
from app.domain.models import VM, Disk, GuestReport, Nic
from app.ports.converter import Converter
from converters import appliance, qcow2
from converters.accelerator import probe
from converters.native import Native
from converters.virt_v2v import VirtV2vInPlace
from tests.contract.memory.converter import MemoryConverter
from tests.lab import build_guest
from tests.unit.moves import make_vm

MIB = 1 << 20


@dataclass
class Converted:
    converter: Converter
    vm: VM
    bases: list[Path]
    digests: list[str]
    overlays: list[Path]
    report: GuestReport
    log: list[str]


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


def overlays_on(bases: list[Path], folder: Path, format: qcow2.Format) -> list[Path]:
    overlays = [folder / f"{index}.overlay.qcow2" for index, _ in enumerate(bases)]
    for base, overlay in zip(bases, overlays, strict=True):
        qcow2.create_overlay(overlay, base, format)
    return overlays


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare(kind: str, folder: Path) -> tuple[Converter, VM, list[Path], qcow2.Format]:
    if kind == "memory":
        bases = [folder / "0.qcow2", folder / "1.qcow2"]
        for base in bases:
            qcow2.create(base, MIB)
        vm = make_vm()
        return MemoryConverter(nics={nic.mac: "ens192" for nic in vm.nics}), vm, bases, "qcow2"
    guest = build_guest()
    vm = make_vm(
        disks=tuple(Disk(key=2000 + n, label=f"Hard disk {n + 1}", capacity_bytes=MIB) for n in range(2)),
        nics=(Nic(key=4000, label="Network adapter 1", mac=guest.mac, network="VM Network", slot=guest.slot),),
    )
    return {"virt-v2v": VirtV2vInPlace, "native": Native}[kind](), vm, guest.disks, "raw"


@pytest.fixture(scope="module", params=["memory", "virt-v2v", "native"])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converted]:
    folder = tmp_path_factory.mktemp("converter")
    converter, vm, bases, format = prepare(request.param, folder)
    digests = [digest(base) for base in bases]
    overlays = overlays_on(bases, folder, format)
    log: list[str] = []
    report = converter.convert(vm, overlays, cancel=go_on, log=log.append)
    yield Converted(converter, vm, bases, digests, overlays, report, log)
    for overlay in overlays:
        overlay.unlink()


def test_it_says_whom_it_met_and_what_it_kept(converted: Converted) -> None:
    report = converted.report
    assert report.converter.startswith(converted.converter.name)
    assert report.os == "debian12"
    assert report.hostname
    assert report.nic_names == {nic.mac: "ens192" for nic in converted.vm.nics}
    assert all(concern.severity in ("warning", "info") for concern in report.concerns)
    assert converted.log


def test_it_says_who_the_guest_was_before(converted: Converted) -> None:
    before = converted.report.before
    if isinstance(converted.converter, MemoryConverter):
        assert before is None
        return
    assert before is not None
    assert before.hostname == converted.report.hostname
    assert before.addresses == {"": ("192.168.50.10/24",)}
    assert before.routes == ("default via 192.168.50.1",)
    assert before.dns == ("192.168.50.1",)
    assert before.mounts == ("/", "/srv")
    assert "open-vm-tools.service" in (before.services or ())
    assert before.kernel
    assert before.machine_id


def test_only_the_overlays_are_written(converted: Converted) -> None:
    assert [digest(base) for base in converted.bases] == converted.digests
    for overlay in converted.overlays:
        checked = qcow2.check(overlay)
        assert checked.corruptions == 0


def test_its_tools_are_here(converted: Converted) -> None:
    checks = converted.converter.check()
    assert checks
    assert all(check.ok and check.detail for check in checks)


def test_a_cancel_passes_through(converted: Converted, tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("the user asked to stop")

    format: qcow2.Format = "qcow2" if isinstance(converted.converter, MemoryConverter) else "raw"
    overlays = overlays_on(converted.bases, tmp_path, format)
    with pytest.raises(Cancelled):
        converted.converter.convert(converted.vm, overlays, cancel=stop, log=converted.log.append)
    assert [digest(base) for base in converted.bases] == converted.digests


def test_the_card_is_told_its_name(converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(converted.converter, MemoryConverter):
        assert converted.converter.calls[0] == (converted.vm.id, tuple(converted.overlays))
        return
    for name, value in appliance.environment(probe()).items():
        monkeypatch.setenv(name, value)
    g = guestfs.GuestFS(python_return_dict=True)
    g.add_drive_opts(str(converted.overlays[0]), format="qcow2", readonly=True)
    g.launch()
    g.mount_ro("/dev/sda1", "/")
    path = "/etc/systemd/network/10-vmferry-ens192.link"
    text = g.read_file(path).decode()
    status = g.statns(path)
    g.close()
    assert f"MACAddress={converted.vm.nics[0].mac}\n" in text
    assert "Name=ens192\n" in text
    assert (status["st_mode"] & 0o7777, status["st_uid"], status["st_gid"]) == (0o644, 0, 0)
