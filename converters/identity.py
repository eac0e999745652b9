"""Looks at a converted guest and keeps who it was, in one start of the libguestfs appliance.

A process of its own, so that it can be stopped and its memory is not ours:

    python -m converters.identity   < {"disks": [path, …], "nics": [{"mac", "slot"}, …]}
                                    > {"os", "hostname", "nic_names": {MAC: name}, "concerns": [{code, …}, …]}
                                    | {"error": {"kind": "unsupported" | "failed", "message", "remedy"}}

Guests are hostile: their files are read, and their programs run, inside the appliance only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import guestfs

from converters.boot_files import default_initrd, kernel_arguments, kernel_version, missing_modules
from converters.nic_names import CONFIGURATION, NAMED_BY_MAC, Card, link_file, names_of

TEXT_LIMIT = 1 << 20  # no configuration file is larger; a hostile one shall not fill our memory
DRIVERS = ("virtio_pci", "virtio_blk")
GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg")
LISTERS = ("/usr/bin/lsinitramfs", "/usr/bin/lsinitrd", "/sbin/lsinitrd", "/usr/bin/lsinitcpio")
UDEVS = ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd")
SYSTEMD_LIBRARIES = tuple(
    f"{folder}/systemd/libsystemd-shared-*.so" for folder in ("/usr/lib", "/lib", "/usr/lib64", "/usr/lib/*-linux-gnu")
)
RENAMES_AGAIN = 243  # since this version systemd's udev renames a card that the initramfs has already named
LABEL = "security.selinux"


class Refused(Exception):
    """The guest is not what it should be now. `kind`: unsupported | failed."""

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.kind, self.message, self.remedy = kind, message, remedy


def main() -> int:
    request = json.load(sys.stdin)
    try:
        answer = work(request["disks"], [Card(nic["mac"], nic["slot"]) for nic in request["nics"]])
    except Refused as refused:
        answer = {"error": {"kind": refused.kind, "message": refused.message, "remedy": refused.remedy}}
    except RuntimeError as error:  # what the guestfs bindings raise for everything
        message = f"the converted disks could not be looked at: {error}"
        answer = {"error": {"kind": "failed", "message": message, "remedy": "Retry; if it stays, report it."}}
    json.dump(answer, sys.stdout)
    return 0


def work(disks: Sequence[str], cards: Sequence[Card]) -> dict[str, Any]:
    with closing(guestfs.GuestFS(python_return_dict=True)) as g:
        for disk in disks:
            g.add_drive_opts(disk, format="qcow2")
        g.launch()
        roots = g.inspect_os()
        if not roots:
            raise Refused("unsupported", "no operating system was found on the disks", "Use the strategy disk_only.")
        root = roots[0]
        for point, device in sorted(g.inspect_get_mountpoints(root).items(), key=lambda item: len(item[0])):
            g.mount(device, point)
        answer: dict[str, Any] = {
            "os": f"{g.inspect_get_distro(root)}{g.inspect_get_major_version(root)}",
            "hostname": g.inspect_get_hostname(root),
            "nic_names": {},
            "concerns": [],
        }
        if g.inspect_get_type(root) == "windows":
            check_windows(g, root)
        else:
            answer |= keep_linux(g, cards)
        g.umount_all()
        g.shutdown()  # says so when the last writes did not reach the disks
        return answer


def check_windows(g: Any, root: str) -> None:
    drivers = f"{g.inspect_get_windows_systemroot(root)}/System32/drivers"
    if not any(name.lower() == "viostor.sys" for name in g.ls(g.case_sensitive_path(drivers))):
        raise Refused(
            "failed",
            "virt-v2v reported success, but Windows has no virtio disk driver (viostor.sys)",
            "Install virtio-win where the worker runs, and name it in VMFERRY_VIRTIO_WIN.",
        )


def keep_linux(g: Any, cards: Sequence[Card]) -> dict[str, Any]:
    grub = "\n".join(read_all(g, GRUB_CONFIGS).values())
    listing = check_initramfs(g, grub)
    concerns = []
    if g.is_file("/usr/bin/vmtoolsd", followsymlinks=True):
        cause = "VMware's guest tools (open-vm-tools) are still installed; they stay idle outside VMware"
        concerns.append(
            concern("vmware_tools_left", "info", cause, "Remove the package, and install qemu-guest-agent.")
        )
    if not any(g.is_file(path, followsymlinks=True) for path in UDEVS):
        return {"concerns": concerns}
    names = names_of(cards, read_all(g, CONFIGURATION + NAMED_BY_MAC), kernel_arguments(grub))
    for mac, name in names.lost.items():
        write_file(g, *link_file(mac, name))
    for mac in names.unknown:
        cause = f"which name the network card {mac} had is not clear from the guest's configuration"
        concerns.append(concern("nic_name_unknown", "warning", cause, "Check the guest's network after the move."))
    if names.lost and systemd_version(g) < RENAMES_AGAIN and not missing_modules(["virtio_net"], listing):
        cause = "the guest's initramfs names its network cards before the rules that keep their names apply"
        concerns.append(concern("nic_name_in_initramfs", "warning", cause, "In the guest, run: update-initramfs -u"))
    return {"nic_names": names.kept | names.lost, "concerns": concerns}


def check_initramfs(g: Any, grub: str) -> str:
    """The files in the default initramfs, one a line. Raises Refused when the guest could not reach its disks."""
    initrd = default_initrd(grub, g.ls("/boot"))
    version = kernel_version(initrd)
    versions = [version] if version else g.ls("/lib/modules")
    builtin = "\n".join(read_all(g, [f"/lib/modules/{each}/modules.builtin" for each in versions]).values())
    listing = list_initramfs(g, f"/boot/{initrd}") if initrd else ""
    if missing := missing_modules(DRIVERS, f"{builtin}\n{listing}"):
        raise Refused(
            "failed",
            f"virt-v2v reported success, but {initrd or 'the kernel'} has no {', '.join(missing)}",
            "The guest would not find its disks. Is the guest's package of the kernel whole?",
        )
    return listing


def list_initramfs(g: Any, path: str) -> str:
    """By the guest's own tool: it knows the guest's way of packing, and a crafted archive hurts the appliance only."""
    for tool in LISTERS:
        if g.is_file(tool, followsymlinks=True):
            return str(g.command([tool, path]))
    return "\n".join(f"/{name}" for name in g.initrd_list(path))


def systemd_version(g: Any) -> int:
    names = [path for pattern in SYSTEMD_LIBRARIES for path in g.glob_expand(pattern)]
    words = [name.rpartition("-")[2].removesuffix(".so").split(".")[0] for name in names]
    return max((int(word) for word in words if word.isdigit()), default=0)


def read_all(g: Any, patterns: Sequence[str]) -> dict[str, str]:
    """Path → text of the files that the patterns name."""
    paths: Iterator[str] = (path for pattern in patterns for path in g.glob_expand(pattern))
    sizes = {path: g.filesize(path) for path in paths if g.is_file(path, followsymlinks=True)}
    return {path: g.read_file(path).decode(errors="replace") for path, size in sizes.items() if size <= TEXT_LIMIT}


def write_file(g: Any, path: str, text: str) -> None:
    """root:root 0644, and with the SELinux label that it would get from its folder when made in the running guest."""
    folder = path.rpartition("/")[0]
    missing = []
    while not g.is_dir(folder, followsymlinks=True):
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    attributes = g.getxattrs(folder or "/")
    labels = [item["attrval"].rstrip(b"\0").decode() for item in attributes if item["attrname"] == LABEL]
    for made in reversed(missing):
        g.mkdir_mode(made, 0o755)
    g.write(path, text)
    g.chmod(0o644, path)
    g.chown(0, 0, path)
    for label in labels:
        for made in (*missing, path):
            g.setxattr(LABEL, label, len(label), made)


def concern(code: str, severity: str, cause: str, remedy: str) -> dict[str, str]:
    return {"code": code, "severity": severity, "cause": cause, "remedy": remedy}


if __name__ == "__main__":
    sys.exit(main())
