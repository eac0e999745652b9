"""What is looked at and written in a guest, on a guest of dictionaries in place of the appliance's."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from converters.identity import Refused, check_windows, keep_linux, read_all
from converters.nic_names import Card

CARD = Card("00:50:56:8a:50:10", 192)
LINK = "/etc/systemd/network/10-vmferry-ens192.link"
DEBIAN = {
    "/boot/grub/grub.cfg": b"linux /boot/vmlinuz-6.1 ro\ninitrd /boot/initrd.img-6.1\n",
    "/boot/initrd.img-6.1": b"",
    "/etc/network/interfaces": b"auto ens192\n",
    "/lib/systemd/systemd-udevd": b"",
    "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so": b"",
    "/usr/bin/lsinitramfs": b"",
}
LISTING = "usr/lib/modules/6.1/kernel/virtio_blk.ko\nusr/lib/modules/6.1/kernel/virtio_pci.ko\n"


class FakeGuest:
    """The part of guestfs.GuestFS that the look at a guest uses."""

    def __init__(self, files: dict[str, bytes], listing: str = LISTING, label: bytes = b"") -> None:
        self.files = dict(files)
        self.folders = {"/", "/boot", "/etc", "/etc/systemd"}
        self.labels = {"/etc/systemd": label} if label else {}
        self.modes: dict[str, int] = {}
        self.listing = listing

    def glob_expand(self, pattern: str) -> list[str]:
        return sorted(fnmatch.filter(self.files, pattern))

    def is_file(self, path: str, followsymlinks: bool) -> bool:
        return path in self.files

    def is_dir(self, path: str, followsymlinks: bool) -> bool:
        return path in self.folders

    def filesize(self, path: str) -> int:
        return len(self.files[path])

    def read_file(self, path: str) -> bytes:
        return self.files[path]

    def ls(self, folder: str) -> list[str]:
        return sorted(path.rpartition("/")[2] for path in self.files if path.rpartition("/")[0] == folder)

    def command(self, argv: list[str]) -> str:
        assert argv == ["/usr/bin/lsinitramfs", "/boot/initrd.img-6.1"]
        return self.listing

    def initrd_list(self, path: str) -> list[str]:
        return self.listing.splitlines()

    def mkdir_mode(self, path: str, mode: int) -> None:
        self.folders.add(path)
        self.modes[path] = mode

    def write(self, path: str, text: str) -> None:
        assert path.rpartition("/")[0] in self.folders
        self.files[path] = text.encode()

    def chmod(self, mode: int, path: str) -> None:
        self.modes[path] = mode

    def chown(self, owner: int, group: int, path: str) -> None:
        assert (owner, group) == (0, 0)

    def getxattrs(self, path: str) -> list[dict[str, Any]]:
        return [{"attrname": "security.selinux", "attrval": self.labels[path]}] if path in self.labels else []

    def setxattr(self, name: str, value: str, size: int, path: str) -> None:
        assert name == "security.selinux"
        assert size == len(value)
        assert "\0" not in value  # the bindings refuse it
        self.labels[path] = value.encode()

    def inspect_get_windows_systemroot(self, root: str) -> str:
        return "/Windows"

    def case_sensitive_path(self, path: str) -> str:
        return path


def test_a_name_is_written_down() -> None:
    g = FakeGuest(DEBIAN)
    answer = keep_linux(g, [CARD])
    assert answer == {"nic_names": {CARD.mac: "ens192"}, "concerns": []}
    assert b"Name=ens192\n" in g.files[LINK]
    assert g.modes == {"/etc/systemd/network": 0o755, LINK: 0o644}
    assert g.labels == {}


def test_what_is_written_gets_its_folders_selinux_label() -> None:
    g = FakeGuest(DEBIAN, label=b"system_u:object_r:etc_t:s0\0")
    keep_linux(g, [CARD])
    assert g.labels[LINK] == g.labels["/etc/systemd/network"] == b"system_u:object_r:etc_t:s0"


@pytest.mark.parametrize("listing", ["", "virtio_blk.ko", "x/virtio_blk.ko", "x/virtio_pci.ko\nx/virtio_blk.conf"])
def test_a_guest_that_could_not_reach_its_disks_is_refused(listing: str) -> None:
    with pytest.raises(Refused, match=r"reported success, but initrd\.img-6\.1 has no"):
        keep_linux(FakeGuest(DEBIAN, listing), [CARD])


def test_drivers_may_be_in_the_kernel() -> None:
    builtin = {"/lib/modules/6.1/modules.builtin": b"kernel/drivers/block/virtio_blk.ko\nkernel/virtio_pci.ko\n"}
    keep_linux(FakeGuest(DEBIAN | builtin, ""), [CARD])


def test_without_the_guests_own_tool_the_archive_is_listed_by_the_appliance() -> None:
    files = {path: data for path, data in DEBIAN.items() if "lsinitramfs" not in path}
    listing = LISTING.replace("usr/lib", "lib")
    assert keep_linux(FakeGuest(files, listing), [CARD])["nic_names"]


def test_a_guest_without_systemds_udev_gets_no_file() -> None:
    files = {path: data for path, data in DEBIAN.items() if "udevd" not in path}
    g = FakeGuest(files)
    assert keep_linux(g, [CARD]) == {"concerns": []}
    assert LINK not in g.files


@pytest.mark.parametrize(("version", "module", "warned"), [(237, True, True), (237, False, False), (252, True, False)])
def test_an_older_udev_that_names_cards_in_the_initramfs_is_warned_of(version: int, module: bool, warned: bool) -> None:
    files = {path.replace("252", str(version)): data for path, data in DEBIAN.items()}
    listing = LISTING + ("x/virtio_net.ko\n" if module else "")
    codes = [concern["code"] for concern in keep_linux(FakeGuest(files, listing), [CARD])["concerns"]]
    assert codes == (["nic_name_in_initramfs"] if warned else [])


def test_what_stays_of_vmware_is_said() -> None:
    answer = keep_linux(FakeGuest(DEBIAN | {"/usr/bin/vmtoolsd": b""}), [CARD])
    assert [(c["code"], c["severity"]) for c in answer["concerns"]] == [("vmware_tools_left", "info")]


def test_a_card_whose_name_is_not_clear_is_said() -> None:
    files = DEBIAN | {"/etc/network/interfaces": b"auto enp3s0\nauto enp4s0\n"}
    cards = [CARD, Card("00:50:56:8a:50:11", 224)]
    answer = keep_linux(FakeGuest(files), cards)
    assert [concern["code"] for concern in answer["concerns"]] == ["nic_name_unknown"] * 2


def test_huge_files_are_not_read() -> None:
    assert read_all(FakeGuest({"/etc/netplan/a.yaml": bytes((1 << 20) + 1)}), ["/etc/netplan/*"]) == {}


def test_windows_needs_the_disk_driver() -> None:
    folder = "/Windows/System32/drivers"
    check_windows(FakeGuest({f"{folder}/VioStor.sys": b""}), "/dev/sda1")
    with pytest.raises(Refused, match=r"viostor\.sys"):
        check_windows(FakeGuest({f"{folder}/disk.sys": b""}), "/dev/sda1")
