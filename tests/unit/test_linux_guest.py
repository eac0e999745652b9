"""What is looked at and written in a guest, on a guest of dictionaries in place of the appliance's."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from converters.guest_files import Refused, read_all
from converters.linux import adapt
from converters.nic_names import Card
from converters.offline import mount_all

CARD = Card("00:50:56:8a:50:10", 192)
LINK = "/etc/systemd/network/10-vmferry-ens192.link"
DEBIAN = {
    "/boot/grub/grub.cfg": b"linux /boot/vmlinuz-6.1 ro\ninitrd /boot/initrd.img-6.1\n",
    "/boot/initrd.img-6.1": b"",
    "/etc/network/interfaces": b"auto ens192\n",
    "/lib/systemd/systemd-udevd": b"",
    "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so": b"",
    "/usr/bin/lsinitramfs": b"",
    "/usr/sbin/qemu-ga": b"",
}
BUILDER = {"/usr/sbin/update-initramfs": b"", "/etc/initramfs-tools/modules": b"# mine\nvirtio_net\n"}
EFI = {"/boot/efi/EFI/debian/grubx64.efi": b"grub", "/boot/efi/EFI/debian/shimx64.efi": b"shim"}
LISTING = "usr/lib/modules/6.1/kernel/virtio_blk.ko\nusr/lib/modules/6.1/kernel/virtio_pci.ko\n"


class FakeGuest:
    """The part of guestfs.GuestFS that the look at a guest uses."""

    def __init__(self, files: dict[str, bytes], listing: str = LISTING, label: bytes = b"") -> None:
        self.files = dict(files)
        self.folders = {"/", "/boot", "/etc", "/etc/systemd"}
        self.labels = {"/etc/systemd": label} if label else {}
        self.modes: dict[str, int] = {}
        self.listing = listing
        self.commands: list[list[str]] = []
        self.failing = False
        self.uuids: dict[str, str] = {}
        self.unreachable = ""
        self.mounted: list[str] = []

    def glob_expand(self, pattern: str) -> list[str]:
        return sorted(fnmatch.filter(self.files, pattern))

    def is_file(self, path: str, followsymlinks: bool) -> bool:
        return path in self.files

    def is_dir(self, path: str, followsymlinks: bool) -> bool:
        return path in self.folders or any(file.startswith(f"{path}/") for file in self.files)

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self.files[path][offset : offset + count]

    def ls(self, folder: str) -> list[str]:
        inside = [path.removeprefix(f"{folder}/") for path in self.files if path.startswith(f"{folder}/")]
        return sorted({path.partition("/")[0] for path in inside})

    def command(self, argv: list[str]) -> str:
        if argv == ["/usr/bin/lsinitramfs", "/boot/initrd.img-6.1"]:
            return self.listing
        self.commands.append(argv)
        if self.failing:
            raise RuntimeError("it broke")
        if "initramfs" in argv[0] or "dracut" in argv[0]:
            self.listing = LISTING
        return ""

    def command_lines(self, argv: list[str]) -> list[str]:
        assert argv == ["/usr/bin/rpm", "-qa", "open-vm-tools*"]
        return ["open-vm-tools-12-1", "open-vm-tools-desktop-12-1"]

    def cp(self, path: str, place: str) -> None:
        name = path.rpartition("/")[2]
        self.files[f"{place}/{name}" if self.is_dir(place, followsymlinks=True) else place] = self.files[path]

    def mkdir(self, path: str) -> None:
        self.folders.add(path)

    def list_devices(self) -> list[str]:
        return sorted({device.rstrip("0123456789") for device in self.uuids})

    def list_partitions(self) -> list[str]:
        return sorted(self.uuids)

    def vfs_uuid(self, device: str) -> str:
        return self.uuids.get(device, "")

    def initrd_list(self, path: str) -> list[str]:
        return self.listing.splitlines()

    def mkdir_mode(self, path: str, mode: int) -> None:
        self.folders.add(path)
        self.modes[path] = mode

    def write(self, path: str, text: str) -> None:
        assert self.is_dir(path.rpartition("/")[0], followsymlinks=True)
        self.files[path] = text.encode()

    def chmod(self, mode: int, path: str) -> None:
        self.modes[path] = mode

    def chown(self, owner: int, group: int, path: str) -> None:
        assert (owner, group) == (0, 0)

    def getxattrs(self, path: str) -> list[dict[str, Any]]:
        return [{"attrname": "security.selinux", "attrval": self.labels[path]}] if path in self.labels else []

    def setxattr(self, name: str, value: str, size: int, path: str) -> None:
        assert name == "security.selinux"
        assert size == len(value)
        assert "\0" not in value  # the bindings refuse it
        self.labels[path] = value.encode()

    def inspect_get_mountpoints(self, root: str) -> dict[str, str]:
        return {"/srv": "/dev/mapper/data", "/boot": "/dev/sda1", "/": root}

    def mount(self, device: str, point: str) -> None:
        if device == self.unreachable:
            raise RuntimeError(f"{device}: No such file or directory")
        self.mounted.append(point)


def test_a_name_is_written_down() -> None:
    g = FakeGuest(DEBIAN)
    answer = adapt(g, [CARD], native=False)
    assert answer == {"nic_names": {CARD.mac: "ens192"}, "concerns": []}
    assert b"Name=ens192\n" in g.files[LINK]
    assert g.modes == {"/etc/systemd/network": 0o755, LINK: 0o644}
    assert g.labels == {}


def test_what_is_written_gets_its_folders_selinux_label() -> None:
    g = FakeGuest(DEBIAN, label=b"system_u:object_r:etc_t:s0\0")
    adapt(g, [CARD], native=False)
    assert g.labels[LINK] == g.labels["/etc/systemd/network"] == b"system_u:object_r:etc_t:s0"


@pytest.mark.parametrize("listing", ["", "virtio_blk.ko", "x/virtio_blk.ko", "x/virtio_pci.ko\nx/virtio_blk.conf"])
def test_a_guest_that_could_not_reach_its_disks_is_refused(listing: str) -> None:
    with pytest.raises(Refused, match=r"the conversion succeeded, but initrd\.img-6\.1 has no"):
        adapt(FakeGuest(DEBIAN, listing), [CARD], native=False)


def test_drivers_may_be_in_the_kernel() -> None:
    builtin = {"/lib/modules/6.1/modules.builtin": b"kernel/drivers/block/virtio_blk.ko\nkernel/virtio_pci.ko\n"}
    adapt(FakeGuest(DEBIAN | builtin, ""), [CARD], native=False)


def test_without_the_guests_own_tool_the_archive_is_listed_by_the_appliance() -> None:
    files = {path: data for path, data in DEBIAN.items() if "lsinitramfs" not in path}
    listing = LISTING.replace("usr/lib", "lib")
    assert adapt(FakeGuest(files, listing), [CARD], native=False)["nic_names"]


def test_a_guest_without_systemds_udev_gets_no_file() -> None:
    files = {path: data for path, data in DEBIAN.items() if "udevd" not in path}
    g = FakeGuest(files)
    assert adapt(g, [CARD], native=False) == {"nic_names": {}, "concerns": []}
    assert LINK not in g.files


@pytest.mark.parametrize(("version", "module", "warned"), [(237, True, True), (237, False, False), (252, True, False)])
def test_an_older_udev_that_names_cards_in_the_initramfs_is_warned_of(version: int, module: bool, warned: bool) -> None:
    files = {path.replace("252", str(version)): data for path, data in DEBIAN.items()}
    listing = LISTING + ("x/virtio_net.ko\n" if module else "")
    codes = [concern["code"] for concern in adapt(FakeGuest(files, listing), [CARD], native=False)["concerns"]]
    assert codes == (["nic_name_in_initramfs"] if warned else [])


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (
            {"/usr/bin/dpkg": b"", "/var/lib/dpkg/info/open-vm-tools.list": b""},
            ["/usr/bin/dpkg", "--remove", "open-vm-tools"],
        ),
        ({"/usr/bin/rpm": b""}, ["/usr/bin/rpm", "--erase", "open-vm-tools-12-1", "open-vm-tools-desktop-12-1"]),
        ({"/usr/bin/vmware-uninstall-tools.pl": b""}, ["/usr/bin/vmware-uninstall-tools.pl"]),
    ],
    ids=["dpkg", "rpm", "tarball"],
)
def test_vmwares_tools_are_taken_out(files: dict[str, bytes], command: list[str]) -> None:
    g = FakeGuest(DEBIAN | {"/usr/bin/vmtoolsd": b""} | files)
    assert adapt(g, [CARD], native=False)["concerns"] == []
    assert g.commands == [command]


def test_what_stays_of_vmware_is_said() -> None:
    g = FakeGuest(DEBIAN | {"/usr/bin/vmtoolsd": b"", "/usr/bin/dpkg": b""})
    g.failing = True
    answer = adapt(g, [CARD], native=False)
    assert [(c["code"], c["severity"]) for c in answer["concerns"]] == [("vmware_tools_left", "info")]
    assert "it broke" in answer["concerns"][0]["cause"]
    assert FakeGuest(DEBIAN).commands == []


def test_a_guest_without_an_agent_is_told_of() -> None:
    files = {path: data for path, data in DEBIAN.items() if "qemu-ga" not in path}
    answer = adapt(FakeGuest(files), [CARD], native=False)
    assert [concern["code"] for concern in answer["concerns"]] == ["guest_agent_missing"]


def test_an_initramfs_without_virtio_is_made_anew_by_initramfs_tools() -> None:
    g = FakeGuest(DEBIAN | BUILDER, "")
    adapt(g, [CARD], native=True)
    assert g.commands == [["/usr/sbin/update-initramfs", "-u", "-k", "6.1"]]
    modules = g.files["/etc/initramfs-tools/modules"].decode()
    assert modules == "# mine\nvirtio_net\nvirtio_pci\nvirtio_blk\nvirtio_scsi\n"


def test_an_initramfs_without_virtio_is_made_anew_by_dracut() -> None:
    g = FakeGuest(DEBIAN | {"/usr/bin/dracut": b"", "/etc/dracut.conf.d/x": b""}, "")
    adapt(g, [CARD], native=True)
    assert g.commands == [["/usr/bin/dracut", "--force", "--no-hostonly", "/boot/initrd.img-6.1", "6.1"]]
    assert b'add_drivers+=" virtio_pci virtio_blk ' in g.files["/etc/dracut.conf.d/90-vmferry-virtio.conf"]


def test_one_that_has_virtio_is_left_alone() -> None:
    g = FakeGuest(DEBIAN | BUILDER)
    adapt(g, [CARD], native=True)
    assert g.commands == []
    assert g.files["/etc/initramfs-tools/modules"] == BUILDER["/etc/initramfs-tools/modules"]


def test_one_that_would_name_the_cards_first_is_made_anew() -> None:
    files = {path.replace("252", "237"): data for path, data in DEBIAN.items()} | BUILDER
    g = FakeGuest(files, LISTING + "x/virtio_net.ko\n")
    assert adapt(g, [CARD], native=True)["concerns"] == []
    assert len(g.commands) == 1


def test_what_neither_tool_made_is_unsupported() -> None:
    with pytest.raises(Refused, match="neither initramfs-tools nor dracut made it") as caught:
        adapt(FakeGuest(DEBIAN, ""), [CARD], native=True)
    assert caught.value.kind == "unsupported"
    assert "compat" in caught.value.remedy


def test_a_rebuild_that_fails_says_which_command() -> None:
    g = FakeGuest(DEBIAN | BUILDER, "")
    g.failing = True
    with pytest.raises(Refused, match=r"update-initramfs -u -k 6\.1 failed in the guest: it broke") as caught:
        adapt(g, [CARD], native=True)
    assert caught.value.kind == "failed"


def test_what_is_mounted_by_its_letter_is_mounted_by_its_uuid() -> None:
    g = FakeGuest(DEBIAN | {"/etc/fstab": b"/dev/sda1 / ext4\n# /dev/sda1\n/dev/sdb /srv xfs\n/dev/sdz9 /x xfs\n"})
    g.uuids = {"/dev/sda1": "1-a", "/dev/sdb": "2-b"}
    answer = adapt(g, [CARD], native=True)
    assert g.files["/etc/fstab"] == b"UUID=1-a / ext4\n# /dev/sda1\nUUID=2-b /srv xfs\n/dev/sdz9 /x xfs\n"
    (concern,) = answer["concerns"]
    assert concern["code"] == "mount_by_device"
    assert "/dev/sdz9" in concern["cause"]


def test_virt_v2v_mends_mounts_itself() -> None:
    fstab = {"/etc/fstab": b"/dev/sda1 / ext4\n"}
    g = FakeGuest(DEBIAN | fstab)
    g.uuids = {"/dev/sda1": "1-a"}
    adapt(g, [CARD], native=False)
    assert g.files["/etc/fstab"] == fstab["/etc/fstab"]


def test_a_uefi_guest_boots_without_its_entry() -> None:
    g = FakeGuest(DEBIAN | EFI)
    assert adapt(g, [CARD], native=False)["concerns"] == []
    assert g.files["/boot/efi/EFI/BOOT/BOOTX64.EFI"] == b"shim"
    assert g.files["/boot/efi/EFI/BOOT/grubx64.efi"] == b"grub"


def test_a_boot_loader_that_is_there_is_kept() -> None:
    g = FakeGuest(DEBIAN | EFI | {"/boot/efi/EFI/boot/bootx64.efi": b"mine"})
    adapt(g, [CARD], native=False)
    assert g.files["/boot/efi/EFI/boot/bootx64.efi"] == b"mine"
    assert "/boot/efi/EFI/boot/BOOTX64.EFI" not in g.files


def test_an_unknown_boot_loader_is_said() -> None:
    answer = adapt(FakeGuest(DEBIAN | {"/boot/efi/EFI/odd/odd.efi": b""}), [CARD], native=False)
    assert [concern["code"] for concern in answer["concerns"]] == ["uefi_loader_unknown"]


def test_a_card_whose_name_is_not_clear_is_said() -> None:
    files = DEBIAN | {"/etc/network/interfaces": b"auto enp3s0\nauto enp4s0\n"}
    cards = [CARD, Card("00:50:56:8a:50:11", 224)]
    answer = adapt(FakeGuest(files), cards, native=False)
    assert [concern["code"] for concern in answer["concerns"]] == ["nic_name_unknown"] * 2


def test_a_data_disk_that_is_encrypted_is_not_mounted() -> None:
    g = FakeGuest(DEBIAN)
    g.unreachable = "/dev/mapper/data"
    mount_all(g, "/dev/sda2")
    assert g.mounted == ["/", "/boot"]


def test_what_the_system_is_on_has_to_be_mounted() -> None:
    g = FakeGuest(DEBIAN)
    g.unreachable = "/dev/sda1"
    with pytest.raises(RuntimeError, match="/dev/sda1"):
        mount_all(g, "/dev/sda2")


def test_huge_files_are_not_read() -> None:
    assert read_all(FakeGuest({"/etc/netplan/a.yaml": bytes((1 << 20) + 1)}), ["/etc/netplan/*"]) == {}
