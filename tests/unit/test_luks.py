"""Encrypted disks: which key goes to which, and what virt-v2v is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters import luks
from converters.guest_files import Refused
from converters.virt_v2v import answers, arguments
from tests.unit.moves import make_vm

UUID = "0f0e0d0c-0b0a-4909-8807-060504030201"


class FakeDisks:
    """The part of guestfs.GuestFS that opens disks. `locks`: device → the key that opens it."""

    def __init__(self, locks: dict[str, str]) -> None:
        self.locks = locks
        self.bitlocker = ""  # what opens /dev/sdz1
        self.opened: dict[str, str] = {}
        self.scanned = False

    def list_devices(self) -> list[str]:
        return ["/dev/sda", "/dev/sdb", "/dev/sdz"]

    def list_partitions(self) -> list[str]:
        return ["/dev/sda1", "/dev/sda2", "/dev/sdb1", "/dev/sdz1"]

    def lvs(self) -> list[str]:
        return ["/dev/vg/root"]

    def vfs_type(self, device: str) -> str:
        kinds = {"/dev/sda1": "ext4", "/dev/sdz1": "BitLocker"} | dict.fromkeys(self.locks, "crypto_LUKS")
        return kinds.get(device, "")

    def luks_uuid(self, device: str) -> str:
        assert self.vfs_type(device) == "crypto_LUKS"
        return UUID if device == "/dev/sdb1" else "other"

    def cryptsetup_open(self, device: str, key: str, name: str) -> None:
        if (self.locks | {"/dev/sdz1": self.bitlocker}).get(device) != key:
            raise RuntimeError(f"no key for {device}")
        assert name in (f"luks-{UUID}", "luks-other", "vmferrydevsdz1")
        self.opened[device] = name

    def lvm_scan(self, activate: bool) -> None:
        self.scanned = activate


@pytest.mark.parametrize(
    ("keys", "opened"),
    [
        ({}, set()),
        ({"/dev/sda2": "a"}, {"/dev/sda2"}),
        ({UUID: "b"}, {"/dev/sdb1"}),
        ({"/dev/sda2": "a", UUID: "b"}, {"/dev/sda2", "/dev/sdb1"}),
        ({"/dev/sdx": "x"}, set()),
    ],
)
def test_each_disk_is_opened_with_its_key(keys: dict[str, str], opened: set[str]) -> None:
    g = FakeDisks({"/dev/sda2": "a", "/dev/sdb1": "b"})
    luks.unlock(g, keys)
    assert g.opened.keys() == opened
    assert g.scanned == bool(opened)


def test_a_key_for_all_is_for_those_without_one() -> None:
    g = FakeDisks({"/dev/sda2": "a", "/dev/sdb1": "b"})
    g.bitlocker = "a"
    luks.unlock(g, {"all": "a", UUID: "b"})
    assert g.opened.keys() == {"/dev/sda2", "/dev/sdb1", "/dev/sdz1"}


def test_a_wrong_key_is_said_and_not_shown() -> None:
    with pytest.raises(Refused, match="the key that was given for /dev/sda2 does not open it") as caught:
        luks.unlock(FakeDisks({"/dev/sda2": "a"}), {"all": "wrong-secret"})
    assert caught.value.kind == "locked"
    assert "wrong-secret" not in caught.value.message + caught.value.remedy


def test_disks_without_a_system_may_be_locked() -> None:
    refused = luks.no_system(FakeDisks({"/dev/sda2": "a"}))
    assert (refused.kind, "/dev/sda2, /dev/sdz1 is encrypted" in refused.message) == ("locked", True)
    assert "--luks-key" in refused.remedy


def test_virt_v2v_gets_keys_by_files_and_by_stdin_only() -> None:
    words = arguments(make_vm(), Path("/x/guest.xml"), "2.2.0", {"/dev/sda2": Path("/dev/shm/k1")})
    assert words[-3:] == ["-i", "libvirtxml", "/x/guest.xml"]
    assert "--key=/dev/sda2:file:/dev/shm/k1" in words
    assert "--keys-from-stdin" in words
    assert answers({"/dev/sda2": "a"}) is None
    asked = answers({"all": "secret"}) or b""
    assert set(asked.splitlines()) == {b"secret"}
    assert len(asked.splitlines()) > 64


@pytest.mark.parametrize(
    ("guest", "disks", "number", "given"),
    [
        ("windows2019srv_64Guest", 17, "2.6.0", True),
        ("windows2019srv_64Guest", 17, "2.2.0", False),  # it knows no such option
        ("windows2019srv_64Guest", 16, "2.6.0", False),
        ("rhel9_64Guest", 17, "2.6.0", False),
        ("windows2019srv_64Guest", 17, "", False),
    ],
)
def test_windows_with_many_disks_boots_from_virtio_scsi(guest: str, disks: int, number: str, given: bool) -> None:
    vm = make_vm(guest_id=guest, disks=make_vm().disks[:1] * disks)
    assert ("--block-driver=virtio-scsi" in arguments(vm, Path("x"), number, {})) is given
