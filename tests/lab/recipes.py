"""What the lab's guests are: each a Debian with something that moves get wrong, most with several such things."""

from dataclasses import dataclass
from typing import Literal

VMWARE_DRIVERS = ("vmw_pvscsi", "vmxnet3", "sd_mod")
VIRTIO_DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net")

PACKAGES = ("linux-image-amd64", "systemd-sysv", "udev", "dbus", "iproute2", "kmod", "python3")
NETWORK_PACKAGES = {
    "ifupdown": ("ifupdown",),
    "networkd": (),
    "netplan": ("netplan.io", "systemd-resolved"),
    "NetworkManager": ("network-manager",),
}
ROOT_PACKAGES = {"ext4": (), "xfs": ("xfsprogs",), "btrfs": ("btrfs-progs",)}
LUKS_PACKAGES = {"": (), "data": ("cryptsetup",), "root": ("cryptsetup", "cryptsetup-initramfs")}
GUEST_IDS = {"bullseye": "debian11_64Guest", "bookworm": "debian12_64Guest", "trixie": "debian13_64Guest"}


@dataclass(frozen=True)
class Recipe:
    """what: in words, for a table. host: its number in the lab's network, another for each guest.

    root: its file system. boot: /boot is a partition of its own. luks: what is encrypted, the first data disk or the
    root. data_mib: the sizes of the data disks. controllers: on how many the disks hang. drivers: all that its
    initramfs holds, beside those of the root's file system. by_device: it mounts by /dev/sd…, not UUID. efi: its boot
    entry is in the NVRAM only. os_id: its /etc/os-release says that instead of debian. guest_id: what VMware says,
    where that is not what it is. tools: VMware's, agent: QEMU's is installed. converter: the one to ask for, where none
    is to be chosen. also: another one that moves the same disks once more.
    """

    name: str
    what: str
    host: int
    suite: Literal["bullseye", "bookworm", "trixie"] = "bookworm"
    firmware: Literal["bios", "efi"] = "bios"
    root: Literal["ext4", "xfs", "btrfs"] = "ext4"
    lvm: bool = False
    boot: bool = False
    luks: Literal["", "data", "root"] = ""
    data_mib: tuple[int, ...] = (512,)
    controllers: int = 1
    network: Literal["ifupdown", "networkd", "netplan", "NetworkManager"] = "ifupdown"
    initramfs: Literal["initramfs-tools", "dracut"] = "initramfs-tools"
    drivers: tuple[str, ...] = VMWARE_DRIVERS
    by_device: bool = False
    os_id: str = "debian"
    guest_id: str = ""
    tools: bool = True
    agent: bool = False
    converter: Literal["", "virt-v2v", "native", "compat"] = ""
    also: Literal["", "virt-v2v", "native"] = ""

    @property
    def image(self) -> tuple[object, ...]:
        """All that makes the image another one."""
        layout = (self.suite, self.firmware, self.root, self.lvm, self.boot, self.luks, self.data_mib, self.network)
        return (*layout, self.host, self.initramfs, self.modules, self.by_device, self.os_id, self.packages)

    @property
    def address(self) -> str:
        return f"192.168.50.{self.host}"

    @property
    def mac(self) -> str:
        return f"00:50:56:8a:50:{self.host}"

    @property
    def modules(self) -> tuple[str, ...]:
        return (*self.drivers, self.root, "crc32c_generic")

    @property
    def packages(self) -> tuple[str, ...]:
        return (
            *PACKAGES,
            *NETWORK_PACKAGES[self.network],
            *ROOT_PACKAGES[self.root],
            *LUKS_PACKAGES[self.luks],
            *(("lvm2",) if self.lvm else ()),
            *(("open-vm-tools",) if self.tools else ()),
            *(("qemu-guest-agent",) if self.agent else ()),
            self.initramfs,
            "grub-efi-amd64" if self.firmware == "efi" else "grub-pc",
        )

    @property
    def said_to_be(self) -> str:
        """VMware's guest id."""
        return self.guest_id or GUEST_IDS[self.suite]

    @property
    def points(self) -> tuple[str, ...]:
        """Where the data disks are mounted."""
        return tuple("/srv" if number == 1 else f"/data{number}" for number in range(1, len(self.data_mib) + 1))


DEBIAN12 = Recipe("debian12", "BIOS, ext4, ifupdown, mounts by UUID", 10, also="native")
RECIPES = (
    DEBIAN12,
    Recipe("debian12-efi", "UEFI, its boot entry in the NVRAM only", 11, firmware="efi"),
    Recipe(
        "debian12-dracut",
        "an initramfs of dracut; mounts by /dev/sda1 and /dev/sdb1",
        12,
        initramfs="dracut",
        by_device=True,
        converter="native",
    ),
    Recipe(
        "debian12-virtio",
        "an initramfs that has virtio",
        13,
        drivers=(*VMWARE_DRIVERS, *VIRTIO_DRIVERS),
        converter="native",
        also="virt-v2v",
    ),
    Recipe(
        "debian11",
        "Debian 11, root on XFS, /boot by itself, three disks, systemd-networkd",
        15,
        suite="bullseye",
        root="xfs",
        boot=True,
        data_mib=(512, 64),
        network="networkd",
    ),
    Recipe(
        "debian13",
        "Debian 13, UEFI, root on LVM, NetworkManager, QEMU's agent is there",
        16,
        suite="trixie",
        firmware="efi",
        lvm=True,
        network="NetworkManager",
        agent=True,
    ),
    Recipe("debian13-btrfs", "Debian 13, BIOS, root on Btrfs", 17, suite="trixie", root="btrfs", data_mib=(64,)),
    Recipe(
        "debian12-luks-data",
        "a LUKS disk whose key is on the root, netplan and systemd-resolved",
        18,
        luks="data",
        data_mib=(64,),
        network="netplan",
    ),
    Recipe(
        "debian12-eight",
        "eight disks on two controllers, without VMware's Tools",
        19,
        data_mib=(64,) * 7,
        controllers=2,
        tools=False,
    ),
    Recipe("debian12-luks-root", "root on LUKS, /boot by itself", 20, boot=True, luks="root", data_mib=(64,)),
    Recipe("derivative", "a derivative that virt-v2v does not know: Pardus, by its name", 21, os_id="pardus"),
    Recipe(
        "unknown",
        "a system that nobody knows, moved unconverted",
        22,
        drivers=(*VMWARE_DRIVERS, "ahci"),
        os_id="unheardof",
        guest_id="otherGuest64",
        converter="compat",
    ),
)
