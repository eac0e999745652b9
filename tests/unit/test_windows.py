"""Windows: which drivers a guest id asks for, and what the names in a virtio-win say."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.windows import drivers_for
from converters import tools, virtio_win, windows
from converters.guest_files import Refused
from tests.unit.moves import make_vm


@pytest.mark.parametrize(
    ("guest", "version", "folders"),
    [
        ("windows7Guest", (2, 2, 0), ("w7/x86",)),
        ("windows7Server64Guest", (2, 2, 0), ("2k8r2/amd64",)),
        ("windows8_64Guest", (2, 2, 0), ("w8/amd64", "w8.1/amd64")),
        ("windows8Server64Guest", (2, 2, 0), ("2k12/amd64", "2k12r2/amd64")),
        ("windows9_64Guest", (2, 2, 0), ("w10/amd64",)),
        ("windows9_64Guest", (2, 6, 0), ("w10/amd64", "w11/amd64")),
        ("windows9Server64Guest", (2, 2, 0), ("2k16/amd64", "2k19/amd64", "2k22/amd64")),
        ("windows11_64Guest", (2, 2, 0), ("w10/amd64",)),
        ("windows11_64Guest", (2, 6, 0), ("w11/amd64",)),
        ("windows2019srv_64Guest", (2, 2, 0), ("2k19/amd64",)),
        ("windows2019srvNext_64Guest", (2, 2, 0), ("2k22/amd64", "2k16/amd64")),
        ("windows2022srvNext_64Guest", (2, 12, 0), ("2k25/amd64",)),
        ("winNetStandardGuest", (2, 2, 0), ("2k3/x86",)),
        ("win2000ServGuest", (2, 2, 0), ()),
        ("windows12_64Guest", (2, 2, 0), ()),
    ],
)
def test_the_folders_of_a_guest_id(guest: str, version: tuple[int, ...], folders: tuple[str, ...]) -> None:
    assert drivers_for(make_vm(guest_id=guest), version) == folders


def test_the_layouts_of_iso_and_package_say_the_same() -> None:
    iso = ["./NetKVM/2k19/amd64/netkvm.inf", "./viostor/2k19/amd64/VIOSTOR.SYS", "guest-agent/qemu-ga-x86_64.msi"]
    package = ["drivers/by-os/amd64/2k19/netkvm.inf", "drivers/by-os/amd64/2k19/viostor.sys", "x/rhev-qga64.msi"]
    assert virtio_win.parse(iso) == virtio_win.parse(package) == (("2k19/amd64",), ("amd64",))


@pytest.mark.parametrize(
    "names",
    [
        ["viostor/2k19/amd64/viostor.sys"],  # no driver for the card
        ["viostor/2k19/amd64/viostor.sys", "NetKVM/2k19/x86/netkvm.inf"],
        ["viostor/2k19/ARM64/viostor.sys", "NetKVM/2k19/ARM64/netkvm.inf"],
        ["viostor/2k99/amd64/viostor.sys", "NetKVM/2k99/amd64/netkvm.inf"],
        ["viostor.sys", "netkvm.inf", "", "/", "../../2k19", "2k19/amd64/viostor.sys/netkvm.inf\x00"],
    ],
)
def test_what_is_not_whole_is_not_counted(names: list[str]) -> None:
    assert virtio_win.parse(names) == ((), ())


def test_where_virt_v2v_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iso, folder = tmp_path / "virtio-win/virtio-win.iso", tmp_path / "virtio-win"
    monkeypatch.setattr(tools, "TOOLS", ())
    monkeypatch.setattr(tools, "VIRTIO_WIN", (iso, folder))
    assert tools.versions() == {}
    folder.mkdir()
    assert tools.versions() == {"virtio-win": str(folder)}
    iso.touch()
    assert tools.versions() == {"virtio-win": str(iso)}
    assert tools.versions(tmp_path / "gone") == {}
    assert tools.versions(tmp_path) == {"virtio-win": str(tmp_path)}


class FakeWindows:
    """The part of guestfs.GuestFS that the look at Windows uses. `services`: when each is started."""

    def __init__(self, drivers: list[str], services: dict[str, int]) -> None:
        self._drivers = drivers
        self._services = services
        self._nodes = ["", "root", "ControlSet001", "Services", *services]

    def inspect_get_windows_systemroot(self, root: str) -> str:
        return "/Windows"

    def inspect_get_windows_system_hive(self, root: str) -> str:
        return "/Windows/System32/config/SYSTEM"

    def inspect_get_windows_current_control_set(self, root: str) -> str:
        return "ControlSet001"

    def case_sensitive_path(self, path: str) -> str:
        return path

    def ls(self, folder: str) -> list[str]:
        assert folder == "/Windows/System32/drivers"
        return self._drivers

    def hivex_open(self, hive: str) -> None:
        assert hive == "/Windows/System32/config/SYSTEM"

    def hivex_root(self) -> int:
        return 1

    def hivex_node_get_child(self, node: int, key: str) -> int:
        return self._nodes.index(key) if key in self._nodes else 0

    def hivex_node_get_value(self, node: int, name: str) -> int:
        assert name == "Start"
        return node

    def hivex_value_value(self, value: int) -> bytes:
        return self._services[self._nodes[value]].to_bytes(4, "little")

    def hivex_close(self) -> None:
        pass


def test_windows_needs_a_disk_driver_that_is_started_at_boot() -> None:
    windows.check(FakeWindows(["disk.sys", "VioStor.sys"], {"viostor": 0}), "/dev/sda1")
    windows.check(FakeWindows(["vioscsi.sys"], {"vioscsi": 0}), "/dev/sda1")
    with pytest.raises(Refused, match=r"no virtio disk driver"):
        windows.check(FakeWindows(["disk.sys"], {"viostor": 0}), "/dev/sda1")
    for services in ({"viostor": 3}, {"vioscsi": 0}, {}):
        with pytest.raises(Refused, match="does not start viostor at boot"):
            windows.check(FakeWindows(["viostor.sys"], services), "/dev/sda1")
