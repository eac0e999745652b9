"""Who a guest is by its disks, on a guest of dictionaries in place of the appliance's."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.models import GuestFacts
from converters.before import facts
from tests.unit.test_linux_guest import DEBIAN, FakeGuest

UNITS = "/etc/systemd/system"
FILES = DEBIAN | {
    "/etc/fstab": b"UUID=1 / ext4 defaults 0 1\nUUID=2 /srv ext4 defaults 0 2\n",
    "/etc/machine-id": b"3da78d80abff4463b47775259fa43454\n",
    "/etc/network/interfaces": b"iface ens192 inet static\n  address 192.0.2.10/24\n  gateway 192.0.2.1\n",
    "/etc/resolv.conf": b"nameserver 192.0.2.53\n",
    f"{UNITS}/multi-user.target.wants/cron.service": b"",
    f"{UNITS}/local-fs.target.requires/mine.mount": b"",
    f"{UNITS}/sshd.service": b"",
    f"{UNITS}/masked.service": b"",
    f"{UNITS}/own.service": b"[Unit]\n",
}
LINKS = {f"{UNITS}/sshd.service": "/lib/systemd/system/ssh.service", f"{UNITS}/masked.service": "/dev/null"}


class Guest(FakeGuest):
    """With symbolic links, and what libguestfs finds out by itself."""

    def __init__(self, files: dict[str, bytes], kind: str = "linux", hostname: str = "web01") -> None:
        super().__init__(files)
        self.links = dict(LINKS)
        self.kind, self.hostname = kind, hostname

    def is_symlink(self, path: str) -> bool:
        return path in self.links

    def readlink(self, path: str) -> str:
        return self.links[path]

    def inspect_get_hostname(self, root: str) -> str:
        return self.hostname

    def inspect_get_type(self, root: str) -> str:
        return self.kind


def read(guest: Guest) -> GuestFacts:
    return GuestFacts(**facts(guest, "/dev/sda1"))


def test_all_of_a_debian() -> None:
    guest = Guest(FILES)
    assert read(guest) == GuestFacts(
        hostname="web01",
        addresses={"": ("192.0.2.10/24",)},
        routes=("default via 192.0.2.1",),
        dns=("192.0.2.53",),
        mounts=("/", "/srv"),
        services=("cron.service", "mine.mount", "ssh.service"),
        kernel="6.1",
        machine_id="3da78d80abff4463b47775259fa43454",
        static=("192.0.2.1", "192.0.2.10", "192.0.2.53"),
    )
    assert guest.files == FILES  # nothing was changed
    assert guest.commands == []


@pytest.mark.parametrize("machine_id", [b"", b"uninitialized\n", b"x" * 32])
def test_what_cannot_be_read_is_not_known(machine_id: bytes) -> None:
    bare: dict[str, Any] = {
        "/boot/vmlinuz": b"",
        "/etc/machine-id": machine_id,
        "/etc/resolv.conf": b"nameserver 192.0.2.53\n",  # of the appliance's time, not the guest's
    }
    guest = Guest(bare, hostname="unknown")
    guest.links = {"/etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf"}
    assert read(guest) == GuestFacts(static=())


def test_of_other_systems_the_host_name_is_known() -> None:
    assert read(Guest(FILES, kind="windows")) == GuestFacts(hostname="web01")
