"""What the lab's guests are: each a Debian 12 with two disks, and something that moves get wrong."""

from dataclasses import dataclass
from typing import Literal

VMWARE_DRIVERS = ("vmw_pvscsi", "vmxnet3", "sd_mod", "ext4", "crc32c_generic")
VIRTIO_DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net")

PACKAGES = (
    "linux-image-amd64",
    "systemd-sysv",
    "udev",
    "dbus",
    "ifupdown",
    "iproute2",
    "kmod",
    "open-vm-tools",
    "python3",
)


@dataclass(frozen=True)
class Recipe:
    """what: in words, for a table. drivers: all that its initramfs holds. by_device: it mounts by /dev/sd…, not UUID.
    os_id: its /etc/os-release says that instead of debian. efi: its boot entry is in the NVRAM only.
    converter: the one that is asked for, where none is chosen.
    """

    name: str
    what: str
    firmware: Literal["bios", "efi"] = "bios"
    initramfs: Literal["initramfs-tools", "dracut"] = "initramfs-tools"
    drivers: tuple[str, ...] = VMWARE_DRIVERS
    by_device: bool = False
    os_id: str = "debian"
    converter: Literal["", "compat"] = ""

    @property
    def parts(self) -> tuple[object, ...]:
        """All that makes the image another one."""
        return (self.firmware, self.initramfs, self.drivers, self.by_device, self.os_id, self.packages)

    @property
    def packages(self) -> tuple[str, ...]:
        return (*PACKAGES, self.initramfs, "grub-efi-amd64" if self.firmware == "efi" else "grub-pc")


DEBIAN12 = Recipe("debian12", "BIOS, ext4, ifupdown, mounts by UUID")
RECIPES = (
    DEBIAN12,
    Recipe("debian12-efi", "UEFI, its boot entry in the NVRAM only", firmware="efi"),
    Recipe("debian12-dracut", "an initramfs of dracut", initramfs="dracut"),
    Recipe("debian12-virtio", "an initramfs that has virtio", drivers=(*VMWARE_DRIVERS, *VIRTIO_DRIVERS)),
    Recipe("debian12-devices", "mounts by /dev/sda1 and /dev/sdb1", by_device=True),
    Recipe("debian12-compat", "moved unconverted", drivers=(*VMWARE_DRIVERS, "ahci"), converter="compat"),
    Recipe("derivative", "a derivative that virt-v2v does not know", os_id="ferryos"),
)
