"""Which converter changes a guest, and why: the choice, from what the source says of the VM. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.domain.models import VM
from app.domain.move import ConverterName

FINDS_DEBIANS_UEFI_LOADER = (2, 12)  # virt-v2v before it: "no bootloader detected" in Debian 12 and later
_DEBIAN_12 = re.compile(r"debian(1[2-9]|[2-9]\d)")
_KNOWN_TO_VIRT_V2V = (
    "almalinux",
    "centos",
    "debian",
    "fedora",
    "opensuse",
    "oraclelinux",
    "rhel",
    "rockylinux",
    "sles",
    "suse",
    "ubuntu",
)
_NO_LINUX = ("darwin", "dos", "freebsd", "netware", "openserver", "os2", "solaris", "unixware", "vmkernel")


class Choice(NamedTuple):
    converter: ConverterName
    reason: str


def converters_for(vm: VM, wanted: ConverterName | None, virt_v2v: tuple[int, ...]) -> list[Choice]:
    """The converters to try, in order; the next only where the one before does not know the guest.

    `virt_v2v`: its version, () where it is missing. None for a guest that only compat can take: that is for the user
    to say.
    """
    if wanted is not None:
        return [Choice(wanted, "it was asked for")]
    guest = vm.guest_id.lower()
    reference = Choice(ConverterName.VIRT_V2V, "it is the reference for this guest system")
    if is_windows(vm):
        return [reference]
    if guest.startswith(_NO_LINUX):
        return []
    if not virt_v2v:
        return [Choice(ConverterName.NATIVE, "virt-v2v is not installed")]
    if vm.firmware == "efi" and _DEBIAN_12.match(guest) and virt_v2v < FINDS_DEBIANS_UEFI_LOADER:
        said = ".".join(map(str, virt_v2v))
        return [Choice(ConverterName.NATIVE, f"virt-v2v {said} finds no boot loader in this system with UEFI")]
    if not guest.startswith(_KNOWN_TO_VIRT_V2V):
        reference = Choice(ConverterName.VIRT_V2V, "it is the reference, and may know this guest system")
    return [reference, Choice(ConverterName.NATIVE, "virt-v2v does not know the guest")]


def parse_version(text: str) -> tuple[int, ...]:
    """ "2.2.0" as numbers; () for anything else."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def is_windows(vm: VM) -> bool:
    return vm.guest_id.lower().startswith("win")


def is_known(vm: VM) -> bool:
    """Whether virt-v2v knows the system that the source says is in the VM."""
    return vm.guest_id.lower().startswith(("win", *_KNOWN_TO_VIRT_V2V))
