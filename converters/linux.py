"""A Linux guest, adapted to its new hardware in the libguestfs appliance.

After any converter: the names of its cards are written down, its default initramfs is proved to carry virtio, and a
UEFI guest can be booted by a firmware that remembers nothing. The native converter rests on nothing else, so for it
mounts are mended, and an initramfs without virtio is made anew by the guest's own tool.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from converters.boot_files import by_uuid, default_initrd, kernel_arguments, kernel_version, missing_modules
from converters.guest_files import Refused, first_file, read_all, write_file
from converters.nic_names import CONFIGURATION, NAMED_BY_MAC, Card, Names, link_file, names_of

DRIVERS = ("virtio_pci", "virtio_blk")
CARRIED = (*DRIVERS, "virtio_scsi", "virtio_net")  # by an initramfs that we have made
GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg")
GRUB_ENVIRONMENTS = ("/boot/grub/grubenv", "/boot/grub2/grubenv", "/boot/efi/EFI/*/grubenv")
LISTERS = ("/usr/bin/lsinitramfs", "/usr/bin/lsinitrd", "/sbin/lsinitrd", "/usr/bin/lsinitcpio")
UPDATE_INITRAMFS = ("/usr/sbin/update-initramfs", "/sbin/update-initramfs")
INITRAMFS_MODULES = "/etc/initramfs-tools/modules"
DRACUT = ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")
DRACUT_DRIVERS = "/etc/dracut.conf.d/90-vmferry-virtio.conf"
UDEVS = ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd")
SYSTEMD_LIBRARIES = tuple(
    f"{folder}/systemd/libsystemd-shared-*.so" for folder in ("/usr/lib", "/lib", "/usr/lib64", "/usr/lib/*-linux-gnu")
)
RENAMES_AGAIN = 243  # since this version systemd's udev renames a card that the initramfs has already named
NAMING_DEVICES = (
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/initramfs-tools/conf.d/resume",
    "/boot/loader/entries/*.conf",
    *GRUB_CONFIGS,
)
ESP = "/boot/efi"
UEFI_LOADERS = ("shimx64.efi", "grubx64.efi", "systemd-bootx64.efi")
SHIMS_COMPANIONS = ("grubx64.efi", "mmx64.efi")  # it starts them from its own folder
REMOVABLE = "BOOTX64.EFI"  # in /EFI/BOOT: what a firmware without boot entries starts
AGENTS = ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga")


class Initramfs(NamedTuple):
    """The default one. `name` is empty where there is none; `version`: of its kernel; `builtin`: in that kernel."""

    name: str
    version: str
    builtin: str

    def missing(self, listing: str) -> list[str]:
        """Which of the drivers that reach the disks it lacks, by the listing of its files."""
        return missing_modules(DRIVERS, f"{self.builtin}\n{listing}")


def adapt(g: Any, cards: Sequence[Card], *, native: bool) -> dict[str, Any]:
    """{"nic_names", "concerns"} of the mounted guest. Raises Refused when it could not reach its disks."""
    grub = "\n".join(read_all(g, GRUB_CONFIGS).values())
    initramfs = default_initramfs(g, grub)
    listing = list_initramfs(g, initramfs)
    names = keep_names(g, cards, kernel_arguments(grub, initramfs.name))
    too_early = bool(names.lost) and systemd_version(g) < RENAMES_AGAIN and not missing_modules(["virtio_net"], listing)
    concerns = []
    if native:
        concerns += mend_mounts(g)
        if initramfs.missing(listing) or too_early:
            rebuild(g, initramfs)
            listing, too_early = list_initramfs(g, initramfs), False
    if missing := initramfs.missing(listing):
        raise Refused(
            "failed",
            f"the conversion succeeded, but {initramfs.name or 'the kernel'} has no {', '.join(missing)}",
            "The guest would not find its disks. Is the guest's package of the kernel whole?",
        )
    concerns += name_concerns(names, too_early)
    concerns += make_removable(g)
    concerns += remove_vmware_tools(g)
    if not first_file(g, AGENTS):
        cause = "the guest has no QEMU guest agent: it is not asked to freeze its file systems, nor for its addresses"
        concerns.append(concern("guest_agent_missing", "info", cause, "In the guest, install qemu-guest-agent."))
    return {"nic_names": names.kept | names.lost, "concerns": concerns}


# ---- network cards


def keep_names(g: Any, cards: Sequence[Card], arguments: str) -> Names:
    """Write the names down that the cards would lose; none where no udev of systemd's would read that."""
    if not first_file(g, UDEVS):
        return Names({}, {}, [])
    names = names_of(cards, read_all(g, CONFIGURATION + NAMED_BY_MAC), arguments)
    for mac, name in names.lost.items():
        write_file(g, *link_file(mac, name))
    return names


def name_concerns(names: Names, too_early: bool) -> list[dict[str, str]]:
    found = []
    for mac in names.unknown:
        cause = f"which name the network card {mac} had is not clear from the guest's configuration"
        found.append(concern("nic_name_unknown", "warning", cause, "Check the guest's network after the move."))
    if too_early:
        cause = "the guest's initramfs names its network cards before the rules that keep their names apply"
        found.append(concern("nic_name_in_initramfs", "warning", cause, "In the guest, run: update-initramfs -u"))
    return found


def systemd_version(g: Any) -> int:
    names = [path for pattern in SYSTEMD_LIBRARIES for path in g.glob_expand(pattern)]
    words = [name.rpartition("-")[2].removesuffix(".so").split(".")[0] for name in names]
    return max((int(word) for word in words if word.isdigit()), default=0)


# ---- the initramfs


def default_initramfs(g: Any, grub: str) -> Initramfs:
    name = boot_default(g, grub)
    version = kernel_version(name)
    versions = [version] if version else g.ls("/lib/modules")
    builtin = "\n".join(read_all(g, [f"/lib/modules/{each}/modules.builtin" for each in versions]).values())
    return Initramfs(name, version, builtin)


def boot_default(g: Any, grub: str) -> str:
    """The file name in /boot of the initramfs that the guest boots with by default."""
    return default_initrd(grub, "\n".join(read_all(g, GRUB_ENVIRONMENTS).values()), g.ls("/boot"))


def list_initramfs(g: Any, initramfs: Initramfs) -> str:
    """The files in it, one a line.

    By the guest's own tool: it knows the guest's way of packing, and a crafted archive hurts the appliance only.
    """
    if not initramfs.name:
        return ""
    path = f"/boot/{initramfs.name}"
    if lister := first_file(g, LISTERS):
        return str(g.command([lister, path]))
    return "\n".join(f"/{name}" for name in g.initrd_list(path))


def rebuild(g: Any, initramfs: Initramfs) -> None:
    """Make the default initramfs anew with virtio in it, and in all that the guest makes later. Raises Refused."""
    words = None
    if not initramfs.version:
        pass
    elif tool := first_file(g, UPDATE_INITRAMFS):
        text = "".join(read_all(g, [INITRAMFS_MODULES]).values())
        new = [name for name in CARRIED if not re.search(rf"^\s*{name}\b", text, re.MULTILINE)]
        write_file(g, INITRAMFS_MODULES, "\n".join([text.rstrip("\n"), *new]).lstrip("\n") + "\n")
        words = [tool, "-u", "-k", initramfs.version]
    elif tool := first_file(g, DRACUT):
        write_file(g, DRACUT_DRIVERS, f'add_drivers+=" {" ".join(CARRIED)} "\n')
        # what dracut sees in the appliance is not the machine that the guest will run on
        words = [tool, "--force", "--no-hostonly", f"/boot/{initramfs.name}", initramfs.version]
    if words is None:
        raise Refused(
            "unsupported",
            f"{initramfs.name or 'the kernel'} has no virtio, and neither initramfs-tools nor dracut made it",
            "Use the converter compat, or add virtio_blk and virtio_pci to it in the guest before the move.",
        )
    try:
        g.command(words)
    except RuntimeError as error:
        remedy = "Run that command in the guest before the move: it has to succeed there, too."
        raise Refused("failed", f"{' '.join(words)} failed in the guest: {error}", remedy) from error


# ---- mounts and the boot entry


def mend_mounts(g: Any) -> list[dict[str, str]]:
    """Name what the guest mounts by /dev/sd… by its UUID: the letters are others on virtio."""
    unknown = set()

    @cache
    def devices() -> set[str]:
        return {*g.list_partitions(), *g.list_devices()}

    def uuid(device: str) -> str:
        value = str(g.vfs_uuid(device)) if device in devices() else ""
        if not value:
            unknown.add(device)
        return value

    for path, text in read_all(g, NAMING_DEVICES).items():
        if (mended := by_uuid(text, uuid)) != text:
            g.write(path, mended)
    cause = "the guest mounts {} by that name, and it has no UUID to go by"
    return [
        concern(
            "mount_by_device", "warning", cause.format(device), "After the move, look at that line of its /etc/fstab."
        )
        for device in sorted(unknown)
    ]


def make_removable(g: Any) -> list[dict[str, str]]:
    """Put a UEFI guest's boot loader where a firmware looks that has no boot entries: they stay behind in the NVRAM."""
    folders = {name.lower(): name for name in g.ls(f"{ESP}/EFI")} if g.is_dir(f"{ESP}/EFI", followsymlinks=True) else {}
    if not folders:
        return []
    boot = f"{ESP}/EFI/{folders.get('boot', 'BOOT')}"
    if "boot" not in folders:
        g.mkdir(boot)
    elif any(name.upper() == REMOVABLE for name in g.ls(boot)):
        return []
    for loader in UEFI_LOADERS:
        for path in g.glob_expand(f"{ESP}/EFI/*/{loader}"):
            g.cp(path, f"{boot}/{REMOVABLE}")
            if loader == UEFI_LOADERS[0]:
                beside = [f"{path.rpartition('/')[0]}/{name}" for name in SHIMS_COMPANIONS]
                for companion in beside:
                    if g.is_file(companion, followsymlinks=True):
                        g.cp(companion, boot)
            return []
    cause = "the guest's EFI partition has no boot loader that is known, and its boot entry stays behind"
    return [
        concern(
            "uefi_loader_unknown", "warning", cause, "If it does not boot, choose its loader in the firmware's menu."
        )
    ]


# ---- what stays of VMware


def remove_vmware_tools(g: Any) -> list[dict[str, str]]:
    """Take them out by the guest's own package manager. They are idle outside VMware: a failure stops nothing."""
    if not first_file(g, ["/usr/bin/vmtoolsd", "/usr/sbin/vmtoolsd"]):
        return []
    try:
        _uninstall_tools(g)
    except RuntimeError as error:
        cause = f"VMware's guest tools are still installed; they stay idle outside VMware. Removing them: {error}"
        return [concern("vmware_tools_left", "info", cause[:500], "In the guest, remove the package open-vm-tools.")]
    return []


def _uninstall_tools(g: Any) -> None:
    if g.is_file("/usr/bin/vmware-uninstall-tools.pl", followsymlinks=True):
        g.command(["/usr/bin/vmware-uninstall-tools.pl"])
    elif g.is_file("/usr/bin/dpkg", followsymlinks=True):
        installed = g.glob_expand("/var/lib/dpkg/info/open-vm-tools*.list")
        names = [path.rpartition("/")[2].removesuffix(".list") for path in installed]
        g.command(["/usr/bin/dpkg", "--remove", *names])
    elif g.is_file("/usr/bin/rpm", followsymlinks=True):
        names = g.command_lines(["/usr/bin/rpm", "-qa", "open-vm-tools*"])
        g.command(["/usr/bin/rpm", "--erase", *names])
    else:
        raise RuntimeError("it has neither dpkg nor rpm")


def concern(code: str, severity: str, cause: str, remedy: str) -> dict[str, str]:
    return {"code": code, "severity": severity, "cause": cause, "remedy": remedy}
