"""Which kernel and initramfs a guest boots by default, what is in them, what it mounts. Pure; hostile input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

_INITRD_LINE = re.compile(r"^\s*initrd(?:16|efi)?\s+(\S+)", re.MULTILINE)
_SAVED_IS_DEFAULT = re.compile(r'^\s*set default="\$\{saved_entry\}"', re.MULTILINE)
_SAVED = re.compile(r"^saved_entry=(.+)$", re.MULTILINE)
_ENTRY_LINE = re.compile(r"^\s*(linux|initrd)(?:16|efi)?\s+(\S+)(.*)$", re.MULTILINE)
_INITRD_NAME = re.compile(r"^(?:initrd\.img|initramfs|initrd)-([\w.+~-]+?)(?:\.img)?$")
_SD_DEVICE = re.compile(r"(?<![\w/.-])/dev/sd[a-z]{1,3}\d{0,3}(?![\w/])")


def default_initrd(grub_cfg: str, grubenv: str, boot_names: Sequence[str]) -> str:
    """The file name in /boot of GRUB's default entry, else of the newest kernel's; empty when there is none.

    The default is the first, or where GRUB keeps one in its environment, that. GRUB on RHEL and Fedora has its entries
    elsewhere (BLS), the newest first.
    """
    names = [name for name in boot_names if _INITRD_NAME.match(name) and "rescue" not in name and "kdump" not in name]
    if _SAVED_IS_DEFAULT.search(grub_cfg) and (saved := _SAVED.search(grubenv)):
        meant = [name for name in names if (version := kernel_version(name)) and version in saved[1]]
        if meant:
            return max(meant, key=len)
    for path in _INITRD_LINE.findall(grub_cfg):
        name = str(path).rpartition("/")[2]
        if name in boot_names:
            return name
    return max(names, key=lambda name: _version_key(kernel_version(name)), default="")


def kernel_version(initrd: str) -> str:
    """ "6.1.0-18-amd64" of "initrd.img-6.1.0-18-amd64"; empty when the name says none."""
    match = _INITRD_NAME.match(initrd)
    return match[1] if match else ""


def kernel_arguments(grub_cfg: str, initrd: str) -> str:
    """The arguments in the first of GRUB's entries that loads this initramfs, else in its first entry."""
    first = latest = ""
    for command, path, rest in _ENTRY_LINE.findall(grub_cfg):
        if command == "linux":
            latest = rest.strip()
            first = first or latest
        elif initrd and path.rpartition("/")[2] == initrd:
            return latest
    return first


def missing_modules(wanted: Iterable[str], listing: str) -> list[str]:
    """Which of the kernel modules no line of a listing of files names."""
    return [name for name in wanted if not re.search(rf"/{name.replace('_', '[_-]')}\.ko\b", listing)]


def by_uuid(text: str, uuid: Callable[[str], str]) -> str:
    """A configuration file with UUID=… for each /dev/sd… that `uuid` knows (it answers "" for others)."""

    def named(match: re.Match[str]) -> str:
        found = uuid(match[0])
        return f"UUID={found}" if found else match[0]

    lines = text.splitlines(keepends=True)
    return "".join(line if line.lstrip().startswith("#") else _SD_DEVICE.sub(named, line) for line in lines)


def _version_key(version: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"[.+~-]", version)]
