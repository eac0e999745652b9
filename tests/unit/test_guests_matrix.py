"""What `make guests` compares, and the page it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.guests import results, sealed
from tests.guests.contract import differences
from tests.guests.table import render
from tests.lab.recipes import DEBIAN12, RECIPES
from tests.service import ROOT

BEFORE: dict[str, Any] = {
    "hostname": "a",
    "addresses": {"ens192": ["192.168.50.10/24"]},
    "macs": {"ens192": "00:50:56:8a:50:10"},
    "routes": ["default via 192.168.50.1 dev ens192"],
    "dns": ["nameserver 192.168.50.1"],
    "checksums": {"/": "x"},
    "services": ["networking.service", "open-vm-tools.service"],
    "machine_id": "m",
    "kernel": "6.1",
    "mounts": {"/": ["ext4", "1-a"], "/srv": ["ext4", "2-b"]},
    "disks": [{"driver": "vmw_pvscsi", "holds": ["1-a"]}, {"driver": "vmw_pvscsi", "holds": ["2-b"]}],
}
DISKS = [{"driver": "virtio_blk", "holds": ["1-a"]}, {"driver": "virtio_blk", "holds": ["2-b"]}]
AFTER = BEFORE | {"services": ["guestfs-firstboot.service", "networking.service"], "disks": DISKS}


def test_a_guest_that_is_as_it_was() -> None:
    assert differences(BEFORE, AFTER) == []


@pytest.mark.parametrize("key", sorted(set(BEFORE) - {"disks"}))
def test_each_thing_that_changed_is_named(key: str) -> None:
    changed = [] if isinstance(AFTER[key], list) else {} if isinstance(AFTER[key], dict) else "other"
    found = differences(BEFORE, AFTER | {key: changed})
    assert [line.partition(": ")[0] for line in found] == (["macs", "addresses"] if key == "macs" else [key])


def test_disks_in_another_order_and_one_that_is_not_on_virtio() -> None:
    (order,) = differences(BEFORE, AFTER | {"disks": DISKS[::-1]})
    assert order == "order of the disks: [['1-a'], ['2-b']] → [['2-b'], ['1-a']]"
    (driver,) = differences(BEFORE, AFTER | {"disks": [DISKS[0], {"driver": "ahci", "holds": ["2-b"]}]})
    assert driver == "drivers of the disks: ['ahci', 'virtio_blk']"


def test_an_unconverted_guest_may_have_other_cards() -> None:
    disks = [disk | {"driver": "ahci"} for disk in DISKS]
    after = AFTER | {"macs": {}, "addresses": {}, "routes": [], "dns": [], "disks": disks}
    assert differences(BEFORE, after, converted=False) == []
    assert differences(BEFORE, after | {"hostname": "b"}, converted=False) == ["hostname: a → b"]


def test_each_result_is_a_row() -> None:
    told = {"version": "1234567", "date": "2026-11-25"}
    moved = told | {
        "verdict": "as it was",
        "converter": "native",
        "reason": "because",
        "convert_s": 71.9,
        "boot": {"kind": "serial", "seconds": 50.9},
    }
    page = render([("debian12", DEBIAN12.what, moved), ("other", "what", told | {"verdict": "failed: a|b\nc"})])
    row = "| debian12 | BIOS, ext4, ifupdown, mounts by UUID | native | because | 72 s | serial, 51 s | as it was "
    assert row + "| 1234567, 2026-11-25 |" in page
    assert "| failed: a/b c | 1234567, 2026-11-25 |" in page


def test_what_is_not_booted_is_a_row_as_well() -> None:
    told = {"version": "1", "date": "2026-11-25", "verdict": "as it was", "converter": "native", "reason": "because"}
    assert "| native | because | 2 s | not booted | as it was |" in render(
        [("debian12", DEBIAN12.what, told | {"convert_s": 2.0, "boot": None})]
    )


def test_what_changed_in_an_encrypted_guest() -> None:
    before = {"/etc/fstab": "a", "initramfs": []}
    assert sealed.differences(before, before | {"initramfs": list(sealed.NEEDED)}) == []
    found = sealed.differences(before, {"/etc/fstab": "b", "initramfs": list(sealed.NEEDED[:2])})
    assert found == ["/etc/fstab: a → b", "the initramfs lacks /cryptsetup"]


def test_each_guest_is_another_one() -> None:
    for part in ("name", "address", "mac", "image"):
        assert len({getattr(recipe, part) for recipe in RECIPES}) == len(RECIPES), part


def test_what_moved_a_guest_well_does_not_move_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(results, "KEPT", tmp_path / "guests.json")
    monkeypatch.setattr(results, "TABLE", tmp_path / "guests.md")
    told = {"version": "1234567", "date": "2026-11-25"}
    again, efi = "debian12 by native", "debian12-efi"
    results.keep(efi, told | {"verdict": "failed: no", "key": results.key(results.MOVES[efi])})
    for move in (again, "debian12"):
        results.keep(move, told | {"verdict": results.GOOD, "key": results.key(results.MOVES[move])})
    assert results.is_good("debian12")
    assert results.is_good(again)
    assert not results.is_good(efi)
    assert not results.is_good("debian11")
    rows = (tmp_path / "guests.md").read_text().splitlines()[-3:]
    assert [line.split(" | ")[0] for line in rows] == ["| debian12", "| debian12-efi", "| debian12 by native"]
    monkeypatch.setattr(results, "code", lambda: [Path(__file__)])
    assert not results.is_good("debian12")


def test_the_same_disks_are_moved_by_both_converters() -> None:
    ways = {(results.MOVES[move].image, results.MOVES[move].converter) for move in results.MOVES}
    for guest in ("debian12", "debian12-virtio"):
        image = results.MOVES[guest].image
        assert (image, "native") in ways
        assert {(image, ""), (image, "virt-v2v")} & ways


def test_the_code_that_changes_guests() -> None:
    assert all(list(ROOT.glob(pattern)) for pattern in results.CHANGES_GUESTS)
    names = {path.name for path in results.code()}
    assert {"linux.py", "virt_v2v.py", "native.py", "offline.py", "disks.py", "tuning.py", "define.py"} <= names
    assert not names & {"vmdk.py", "vmx.py", "ovf.py", "qcow2_writer.py", "nbd_uri.py"}
