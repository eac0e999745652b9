"""The lab's Windows, converted by the real virt-v2v with the lab's virtio-win; boot unproven."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import ConversionFailed
from app.domain.host import WindowsTools
from app.domain.models import GuestReport, Nic
from converters import qcow2
from converters.virt_v2v import VirtV2vInPlace
from converters.virtio_win import survey
from converters.windows import number
from tests.lab import virtio_win
from tests.lab.appliance import started
from tests.lab.windows import HOSTNAME, build_windows
from tests.unit.moves import make_vm

CONTROL = "ControlSet001"
NIC = Nic(key=4000, label="n", mac="00:50:56:8a:50:30", network="VM Network", static=("192.0.2.30/24",))
DNS = "192.0.2.53"
POWERSHELL = "/Windows/Temp/*.ps1"


@dataclass(frozen=True)
class Converted:
    report: GuestReport
    log: list[str]
    driver: str  # the text of viostor.sys
    files: dict[str, list[str]]  # folder → names
    start: dict[str, int | None]  # service → when it is started
    driver_service: str  # what Windows binds to the disk by its PCI id
    scripts: str  # all that is run at first boot


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


def convert(folder: Path, tool: str = "virt-v2v-in-place") -> Converted:
    """One conversion, and one look at what it left."""
    disk = folder / "windows.qcow2"
    qcow2.create_overlay(disk, build_windows(), "raw")
    log: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIRT_TOOLS_DATA_DIR", str(virtio_win.make_tools(folder / "tools")))
        converter = VirtV2vInPlace(tool, virtio_win=virtio_win.make_folder(folder / "virtio-win"))
        vm = make_vm(guest_id="windows2019srv_64Guest", nics=(NIC,), routes=("default via 192.0.2.1",), dns=(DNS,))
        report = converter.convert(vm, [disk], cancel=go_on, log=log.append)
    scripts = "/Program Files/Guestfs/Firstboot/scripts"
    drivers = "/Windows/System32/drivers"
    hive = "/Windows/System32/config/SYSTEM"
    with started([disk], "qcow2", readonly=True) as g:
        g.mount_ro("/dev/sda1", "/")
        return Converted(
            report,
            log,
            g.read_file(f"{drivers}/viostor.sys").decode(),
            {path: sorted(g.ls(path)) for path in ("/", drivers, "/Windows/Drivers/VirtIO", scripts)},
            {name: number(g, hive, (CONTROL, "Services", name), "Start") for name in ("viostor", "firstboot")},
            text(g, hive, driver_database("guestor.inf_tmp", "Configurations", "guestor_conf"), "Service"),
            "\n".join(g.read_file(path).decode() for path in g.glob_expand(f"{scripts}/*") + g.glob_expand(POWERSHELL)),
        )


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return convert(tmp_path_factory.mktemp("windows"))


def driver_database(*keys: str) -> tuple[str, ...]:
    return ("DriverDatabase", "DriverPackages", *keys)


def text(g: Any, hive: str, path: tuple[str, ...], name: str) -> str:
    g.hivex_open(hive)
    node = g.hivex_root()
    for key in path:
        node = g.hivex_node_get_child(node, key)
    found = g.hivex_value_value(g.hivex_node_get_value(node, name)).decode("utf-16-le").rstrip("\0")
    g.hivex_close()
    return str(found)


def test_what_it_is_is_reported(converted: Converted) -> None:
    assert converted.report.os == "win2k19"
    assert converted.report.hostname == HOSTNAME
    assert converted.report.converter.startswith("virt-v2v ")
    assert "virt-v2v: Converting Windows Server 2019 Standard to run on KVM" in converted.log


def test_nothing_is_warned_of_when_all_is_at_hand(converted: Converted) -> None:
    assert converted.report.concerns == ()


def test_the_drivers_of_its_own_version_are_in_the_guest(converted: Converted) -> None:
    assert "viostor.sys" in converted.files["/Windows/System32/drivers"]
    assert {"viostor.inf", "viostor.cat", "netkvm.sys", "netkvm.inf", "vioscsi.sys"} <= set(
        converted.files["/Windows/Drivers/VirtIO"]
    )
    assert converted.driver == "the lab's viostor/2k19/amd64/viostor.sys\n"


def test_windows_starts_the_disk_driver_at_boot(converted: Converted) -> None:
    assert converted.start["viostor"] == 0
    assert converted.driver_service == "viostor"


def test_the_agent_is_queued_and_vmwares_tools_are_taken_out_at_first_boot(converted: Converted) -> None:
    assert converted.start["firstboot"] == 2
    assert "qemu-ga-x86_64.msi" in converted.files["/"]
    assert "install-qemu-ga-x86_64.msi.ps1" in converted.scripts
    assert "uninstalling VMware Tools" in converted.scripts
    assert "/x{3EDFBC0D" in converted.scripts


def test_its_static_address_is_set_at_first_boot(converted: Converted) -> None:
    words = (NIC.mac.replace(":", "-"), "192.0.2.30", "192.0.2.1", DNS)
    assert [word for word in words if word.lower() not in converted.scripts.lower()] == []


def test_a_success_without_a_driver_is_none(tmp_path: Path) -> None:
    """Where virtio-win has nothing for this version, virt-v2v only warns, and would have it boot from IDE."""
    disk = tmp_path / "windows.qcow2"
    qcow2.create_overlay(disk, build_windows(), "raw")
    with pytest.raises(ConversionFailed, match=r"no virtio disk driver \(viostor.sys\)"):
        VirtV2vInPlace(shutil.which("true") or "").convert(make_vm(), [disk], cancel=go_on, log=print)


def test_what_is_at_hand_is_read_from_a_folder_and_from_an_iso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = virtio_win.make_folder(tmp_path / "virtio-win", systems=["2k19/amd64", "w10/x86"])
    found = survey(folder)
    assert found == WindowsTools(drivers=("2k19/amd64", "w10/x86"), agents=("amd64", "x86"), runner=False)
    assert survey(virtio_win.make_iso(tmp_path / "virtio-win.iso", folder)) == found
    monkeypatch.setenv("VIRT_TOOLS_DATA_DIR", str(virtio_win.make_tools(tmp_path / "tools")))
    assert survey(folder).runner
    (tmp_path / "no.iso").write_bytes(os.urandom(1 << 20))
    for nothing in (tmp_path / "no.iso", tmp_path / "gone", tmp_path / "tools"):
        assert survey(nothing) == WindowsTools(runner=True)
