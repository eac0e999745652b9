"""What the converters and the boot check find in a guest, each with what raises it."""

from __future__ import annotations

import json
from collections.abc import Callable

from app.domain.contract import compare, concern_of
from app.domain.models import Concern, GuestFacts
from converters.linux import adapt
from converters.v2v_messages import Messages
from tests.concerns.entry import OnGuest
from tests.unit.test_linux_guest import CARD, DEBIAN, LISTING, FakeGuest


def linux(
    files: dict[str, bytes], *, without: str = "\0", listing: str = LISTING, failing: bool = False, native: bool = False
) -> Callable[[], list[Concern]]:
    """A Debian with one card and these files besides, and without those whose names have `without` in them."""

    def convert() -> list[Concern]:
        guest = FakeGuest({path: data for path, data in (DEBIAN | files).items() if without not in path}, listing)
        guest.failing = failing
        return [Concern.model_validate(found) for found in adapt(guest, [CARD], native=native)["concerns"]]

    return convert


def said_by_virt_v2v(text: str) -> Callable[[], list[Concern]]:
    def convert() -> list[Concern]:
        messages = Messages(lambda _line: None)
        messages.line(json.dumps({"type": "warning", "message": text}))
        return messages.concerns

    return convert


def came_back_without(**facts: tuple[str, ...]) -> Callable[[], list[Concern]]:
    """A guest that had all of it before."""

    def boot_check() -> list[Concern]:
        known = {name: lines[:1] for name, lines in facts.items()}
        told = concern_of(compare(GuestFacts.model_validate(facts), GuestFacts.model_validate(known)))
        return [told] if told else []

    return boot_check


OLD_SYSTEMD = {"/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-237.so": b""}
TOOLS = {"/usr/bin/vmtoolsd": b"", "/usr/bin/dpkg": b""}
ENTRIES = (
    OnGuest(
        "virt_v2v_warning",
        "a conversion in which virt-v2v warns of something",
        said_by_virt_v2v("multiple CD-ROMs found; translation of CD-ROM references may be inexact"),
    ),
    OnGuest(
        "virt_v2v_note",
        "a conversion in which virt-v2v warns of what does not matter",
        said_by_virt_v2v("fstrim on guest filesystem /dev/sda1 failed.  Usually you can ignore this message."),
    ),
    OnGuest(
        "windows_lacks_virtio",
        "Windows of another version than its guest id says",
        said_by_virt_v2v("there is no virtio network driver for this version of Windows (10.0 x86_64)."),
    ),
    OnGuest(
        "windows_driver_may_be_stopped",
        "Windows with Group Policy or anti-virus software",
        said_by_virt_v2v("this guest has Anti-Virus (AV) software and a new virtio block device driver was installed."),
    ),
    OnGuest(
        "boot_configuration_kept",
        "a guest whose boot loader virt-v2v does not know how to change",
        said_by_virt_v2v("could not determine a way to update the configuration of Grub2"),
    ),
    OnGuest(
        "contract_changed",
        "a moved guest that runs without one of its file systems",
        came_back_without(mounts=("/", "/srv")),
    ),
    OnGuest("guest_agent_missing", "a Linux guest without qemu-guest-agent", linux({}, without="qemu-ga")),
    OnGuest(
        "nic_name_unknown",
        "a configuration that names other cards than the VM has",
        linux({"/etc/network/interfaces": b"auto enp3s0\nauto enp4s0\n"}),
    ),
    OnGuest(
        "nic_name_in_initramfs",
        "a systemd before 239 with virtio_net in its initramfs",
        linux(OLD_SYSTEMD, without="shared-252", listing=LISTING + "x/virtio_net.ko\n"),
    ),
    OnGuest(
        "mount_by_device",
        "an /etc/fstab with a device that the disks do not have",
        linux({"/etc/fstab": b"/dev/sdz9 /srv xfs\n"}, native=True),
    ),
    OnGuest(
        "uefi_loader_unknown",
        "an EFI partition with a boot loader of an unknown name",
        linux({"/boot/efi/EFI/odd/odd.efi": b""}),
    ),
    OnGuest(
        "vmware_tools_left",
        "a guest with VMware's tools that its package manager does not remove",
        linux(TOOLS, failing=True),
    ),
)
