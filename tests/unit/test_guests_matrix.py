"""What `make guests` compares, and the page it makes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.guests.contract import differences
from tests.guests.table import render
from tests.lab.recipes import DEBIAN12, RECIPES

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
    "mounts": {"/": "/dev/sda1", "/srv": "/dev/sdb1"},
    "block_drivers": {"sda": "vmw_pvscsi", "sdb": "vmw_pvscsi"},
}
AFTER = BEFORE | {
    "services": ["guestfs-firstboot.service", "networking.service"],
    "mounts": {"/": "/dev/vda1", "/srv": "/dev/vdb1"},
    "block_drivers": {"vda": "virtio_blk", "vdb": "virtio_blk"},
}


def test_a_guest_that_is_as_it_was() -> None:
    assert differences(BEFORE, AFTER) == []


@pytest.mark.parametrize("key", sorted(set(BEFORE) - {"mounts", "block_drivers"}))
def test_each_thing_that_changed_is_named(key: str) -> None:
    changed = [] if isinstance(AFTER[key], list) else {} if isinstance(AFTER[key], dict) else "other"
    (difference,) = differences(BEFORE, AFTER | {key: changed})
    assert difference.startswith(f"{key}: ")


def test_a_mount_that_is_gone_and_a_disk_that_is_not_on_virtio() -> None:
    (gone,) = differences(BEFORE, AFTER | {"mounts": {"/": "/dev/vda1"}})
    assert gone == "mounts: ['/', '/srv'] → ['/']"
    assert len(differences(BEFORE, AFTER | {"block_drivers": {"vda": "virtio_blk", "vdb": "ahci"}})) == 1


def test_an_unconverted_guest_may_have_other_cards() -> None:
    after = AFTER | {"macs": {}, "addresses": {}, "routes": [], "block_drivers": {"vda": "ahci", "vdb": "ahci"}}
    assert differences(BEFORE, after, converted=False) == []
    assert differences(BEFORE, after | {"hostname": "b"}, converted=False) == ["hostname: a → b"]


def test_each_result_is_a_row() -> None:
    moved = {
        "verdict": "as it was",
        "converter": "native",
        "reason": "because",
        "convert_s": 71.9,
        "boot": {"kind": "serial", "seconds": 50.9},
    }
    page = render([(DEBIAN12, moved), (RECIPES[1], {"verdict": "failed: a|b\nc"})])
    assert (
        "| debian12 | BIOS, ext4, ifupdown, mounts by UUID | native | because | 72 s | serial, 51 s | as it was |"
        in page
    )
    assert "| failed: a/b c |" in page
    assert len({recipe.name for recipe in RECIPES}) == len({recipe.parts for recipe in RECIPES}) == len(RECIPES)
