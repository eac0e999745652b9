"""Which names the cards had, which initramfs is booted, and what virt-v2v's messages mean."""

from __future__ import annotations

import json

import pytest

from app.domain.errors import ConversionFailed, DiskLocked, NoSpace, PermanentError, UnsupportedGuest
from converters.boot_files import by_uuid, default_initrd, kernel_arguments, kernel_version, missing_modules
from converters.nic_names import Card, Names, link_file, names_of
from converters.v2v_messages import Messages, failure

A = Card("00:50:56:8a:50:10", 192)
B = Card("00:50:56:8a:50:11", 224)
IFUPDOWN = {"/etc/network/interfaces": "auto lo\niface lo inet loopback\nauto ens192\niface ens192 inet static\n"}
RULES = "/etc/udev/rules.d/70-persistent-net.rules"


@pytest.mark.parametrize(
    "files",
    [
        IFUPDOWN,
        {"/etc/netplan/50-cloud-init.yaml": "network:\n  ethernets:\n    ens192:\n      dhcp4: true\n"},
        {"/etc/NetworkManager/system-connections/a.nmconnection": "[connection]\ninterface-name=ens192\n"},
        {"/etc/systemd/network/10-lan.network": "[Match]\nName=ens192\n"},
        {"/etc/sysconfig/network-scripts/ifcfg-ens192": "BOOTPROTO=dhcp\n"},
        {"/etc/network/interfaces": "auto ens192.100\niface ens192.100 inet dhcp\n"},
        {},
    ],
)
def test_the_name_of_vmwares_slot_is_kept(files: dict[str, str]) -> None:
    assert names_of([A], files, "ro quiet") == Names({}, {A.mac: "ens192"}, [])


def test_cards_are_told_apart_by_their_slots() -> None:
    files = {"/etc/netplan/a.yaml": "ens224: {}\nens192: {}\n"}
    assert names_of([B, A], files, "").lost == {A.mac: "ens192", B.mac: "ens224"}


def test_the_one_name_left_is_the_one_cards() -> None:
    files = {"/etc/sysconfig/network-scripts/ifcfg-eno16777736": "DEVICE=eno16777736\n"}
    assert names_of([A], files, "").lost == {A.mac: "eno16777736"}
    assert names_of([A._replace(slot=None)], IFUPDOWN, "").lost == {A.mac: "ens192"}


def test_what_cannot_be_matched_is_said_and_not_guessed() -> None:
    files = {"/etc/netplan/a.yaml": "enp3s0: {}\nenp4s0: {}\n"}
    assert names_of([A, B], files, "") == Names({}, {}, [A.mac, B.mac])
    assert names_of([A, B._replace(slot=None)], {}, "") == Names({}, {A.mac: "ens192"}, [B.mac])


@pytest.mark.parametrize(
    ("files", "arguments"),
    [(IFUPDOWN, "ro net.ifnames=0"), ({"/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp"}, "ro")],
)
def test_the_kernels_own_names_are_left_alone(files: dict[str, str], arguments: str) -> None:
    assert names_of([A], files, arguments) == Names({}, {}, [])


def test_a_name_by_mac_is_the_guests_own() -> None:
    rule = f'SUBSYSTEM=="net", ATTR{{address}}=="{A.mac.upper()}", KERNEL=="eth*", NAME="lan0"\n'
    assert names_of([A], {RULES: rule}, "") == Names({A.mac: "lan0"}, {}, [])
    assert names_of([A], {RULES: "#" + rule}, "").kept == {}
    link = {"/etc/systemd/network/10-x.link": f"[Match]\nMACAddress={A.mac}\n[Link]\nName=lan0\n"}
    assert names_of([A, B], link, "") == Names({A.mac: "lan0"}, {B.mac: "ens224"}, [])


def test_comments_and_other_words_are_no_names() -> None:
    files = {"/etc/network/interfaces": "# auto enp9s9\n; ens7\nauto xens5 ens5-x br-ens6\n"}
    assert names_of([A], files, "").lost == {A.mac: "ens192"}


def test_a_link_names_the_driver_beside_the_mac() -> None:
    path, text = link_file(A.mac, "ens192")
    assert path == "/etc/systemd/network/10-vmferry-ens192.link"
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines == ["[Match]", f"MACAddress={A.mac}", "Driver=virtio_net", "[Link]", "Name=ens192"]


GRUB = """
menuentry 'Debian' {
        linux   /boot/vmlinuz-6.1.0-18-amd64 root=UUID=1 ro quiet net.ifnames=0
        initrd  /boot/initrd.img-6.1.0-18-amd64
}
menuentry 'old' {
        linux   /boot/vmlinuz-6.1.0-9-amd64 root=UUID=1 ro old
        initrd  /boot/initrd.img-6.1.0-9-amd64
}
"""


def test_the_first_entry_of_grub_is_the_default() -> None:
    names = ["initrd.img-6.1.0-9-amd64", "initrd.img-6.1.0-18-amd64", "vmlinuz-6.1.0-18-amd64"]
    assert default_initrd(GRUB, "", names) == "initrd.img-6.1.0-18-amd64"
    assert default_initrd(GRUB.replace("initrd  /boot", "initrd  "), "", names) == "initrd.img-6.1.0-18-amd64"


def test_the_arguments_are_those_of_the_entry_that_loads_the_initramfs() -> None:
    assert kernel_arguments(GRUB, "initrd.img-6.1.0-18-amd64").split()[-1] == "net.ifnames=0"
    assert kernel_arguments(GRUB, "initrd.img-6.1.0-9-amd64") == "root=UUID=1 ro old"
    assert kernel_arguments(GRUB, "initrd.img-elsewhere") == kernel_arguments(GRUB, "initrd.img-6.1.0-18-amd64")
    assert kernel_arguments(GRUB, "") == kernel_arguments(GRUB, "initrd.img-6.1.0-18-amd64")
    assert kernel_arguments("", "initrd.img-6.1.0-18-amd64") == ""


@pytest.mark.parametrize(
    ("set_by", "grubenv", "version"),
    [
        ("${saved_entry}", "saved_entry=gnulinux-advanced-1>gnulinux-6.1.0-9-amd64-advanced-1\n", "6.1.0-9-amd64"),
        ("${saved_entry}", "saved_entry=a1b2-6.1.0-9-amd64\n", "6.1.0-9-amd64"),
        ("${saved_entry}", "saved_entry=a1b2-6.1.0-18-amd64\n", "6.1.0-18-amd64"),
        ("${saved_entry}", "saved_entry=0\n", "6.1.0-18-amd64"),
        ("${saved_entry}", "", "6.1.0-18-amd64"),
        ("0", "saved_entry=a1b2-6.1.0-9-amd64\n", "6.1.0-18-amd64"),
    ],
)
def test_an_entry_that_grub_keeps_may_be_the_default(set_by: str, grubenv: str, version: str) -> None:
    names = ["initrd.img-6.1.0-9-amd64", "initrd.img-6.1.0-18-amd64"]
    assert default_initrd(f'   set default="{set_by}"\n{GRUB}', grubenv, names) == f"initrd.img-{version}"


@pytest.mark.parametrize(
    ("names", "initrd", "version"),
    [
        (["initrd.img-6.1.0-9-amd64", "initrd.img-6.1.0-18-amd64"], "initrd.img-6.1.0-18-amd64", "6.1.0-18-amd64"),
        (
            [
                "initramfs-5.14.0-70.el9.x86_64.img",
                "initramfs-0-rescue-ab.img",
                "initramfs-5.14.0-70.el9.x86_64kdump.img",
            ],
            "initramfs-5.14.0-70.el9.x86_64.img",
            "5.14.0-70.el9.x86_64",
        ),
        (["vmlinuz-6.1.0-9-amd64", "initrd.img", "../x"], "", ""),
        ([], "", ""),
    ],
)
def test_without_grubs_word_the_newest_kernel_counts(names: list[str], initrd: str, version: str) -> None:
    assert default_initrd("", "", names) == initrd
    assert kernel_version(initrd) == version


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("/dev/sda1 / ext4\n", "UUID=u / ext4\n"),
        ("root=/dev/sda1 ro", "root=UUID=u ro"),
        ("  # /dev/sda1\nx /dev/sda1\n", "  # /dev/sda1\nx UUID=u\n"),
        ("/dev/sda11 /x/dev/sda1 /dev/sda1/x /dev/sda1p /dev/mapper/sda1", None),
        ("", ""),
    ],
)
def test_devices_by_their_uuid(text: str, mended: str | None) -> None:
    assert by_uuid(text, lambda device: "u" if device == "/dev/sda1" else "") == (text if mended is None else mended)


def test_modules_in_an_initramfs() -> None:
    listing = (
        "usr/lib/modules/6/kernel/drivers/block/virtio_blk.ko\n-rw-r--r-- x/virtio-pci.ko.xz\nx/my_virtio_net.ko\n"
    )
    assert missing_modules(["virtio_blk", "virtio_pci", "virtio_net"], listing) == ["virtio_net"]


@pytest.mark.parametrize(
    ("line", "kind", "remedy"),
    [
        ("inspection could not detect the source guest (or physical machine).", UnsupportedGuest, "compat"),
        (
            "unable to mount the disk image for writing: Windows is hibernated or Fast Restart",
            UnsupportedGuest,
            "powercfg",
        ),
        ("could not find key to open LUKS encrypted /dev/sda2", DiskLocked, "--luks-key"),
        (
            "not enough available inodes for conversion on filesystem ‘/’.  9 inodes available < 100",
            NoSpace,
            "too full",
        ),
        ("insufficient free space in the conversion server temporary directory /var/tmp (9 MB).", NoSpace, "temporary"),
        ("filesystem was mounted read-only, even though we asked for it", UnsupportedGuest, "shut it down from within"),
        ("detected errors on the XFS filesystem on /dev/sda2", UnsupportedGuest, "xfs_repair"),
        ("unable to rebuild initrd (/boot/x) because mkinitrd or dracut was not found", UnsupportedGuest, "native"),
        ("inspection of the package database failed for this Linux guest.", UnsupportedGuest, "native"),
        ("failed to find grub2-mkconfig binary (but Grub2 was detected on guest)", UnsupportedGuest, "native"),
        ("mount: mount_stub: /dev/mapper/root: No such file or directory", UnsupportedGuest, "native"),
        ("could not read key from user", DiskLocked, "--luks-key"),
        ("One of rhsrvany.exe or pvvxsvc.exe is missing in /usr/share/virt-tools.", UnsupportedGuest, "rhsrvany"),
        ("multi-boot operating systems are not supported by virt-v2v-in-place", UnsupportedGuest, "several"),
        ("there are no virtio drivers available for this version of Windows", UnsupportedGuest, "VIRTIO_WIN"),
        ("not enough free space for conversion on filesystem ‘/’.  2.1 MB free < 20 MB needed", NoSpace, "too full"),
        ("no bootloader detected", UnsupportedGuest, "native"),
        ("virt-v2v is unable to convert this guest type (linux/alpine)", UnsupportedGuest, "compat"),
        ("libguestfs error: mount: I/O error", ConversionFailed, "verified copy"),
    ],
)
def test_failures_say_what_to_do(line: str, kind: type[PermanentError], remedy: str) -> None:
    for error in (
        failure([line], ""),
        failure([], f"noise\nvirt-v2v-in-place: error: {line}\n\nIf reporting bugs, run\n"),
    ):
        assert type(error) is kind
        assert remedy in error.remedy
        assert line in error.message
    assert failure([], "").message == "virt-v2v: it printed no reason"


@pytest.mark.parametrize(
    ("warning", "code", "severity"),
    [
        ("there are no virtio drivers available for this version of Windows", "windows_lacks_virtio", "warning"),
        ("there is no virtio network driver for this version of Windows", "windows_lacks_virtio", "warning"),
        ("QEMU Guest Agent MSI not found on tools ISO/directory.", "guest_agent_missing", "info"),
        ("The QEMU Guest Agent will not be installed.", "guest_agent_missing", "info"),
        ("this guest has Windows Group Policy Objects (GPO) and", "windows_driver_may_be_stopped", "warning"),
        ("this guest has Anti-Virus (AV) software and", "windows_driver_may_be_stopped", "warning"),
        ("VMware tools was detected, but uninstallation failed.", "vmware_tools_left", "info"),
        ("could not determine a way to update the configuration of Grub2", "boot_configuration_kept", "warning"),
        ('/etc/fstab references unknown device "sdq1".', "mount_by_device", "warning"),
        ("fstrim on guest filesystem /dev/sda1 failed.", "virt_v2v_note", "info"),
        ("something\nnew", "virt_v2v_warning", "warning"),
    ],
)
def test_warnings_say_what_to_do(warning: str, code: str, severity: str) -> None:
    messages = Messages(print)
    messages.line(json.dumps({"message": warning, "timestamp": "x", "type": "warning"}))
    (found,) = messages.concerns
    assert (found.code, found.severity) == (code, severity)
    assert warning in found.cause
    assert found.remedy


def test_messages_become_log_lines_concerns_and_errors() -> None:
    said: list[str] = []
    messages = Messages(said.append)
    for kind in ("message", "warning", "error", "info"):
        messages.line(json.dumps({"message": f"a {kind}", "timestamp": "x", "type": kind}))
    for line in ("not json", "[1]", "", "{}"):
        messages.line(line)
    assert [(c.severity, c.cause) for c in messages.concerns] == [("warning", "virt-v2v warns: a warning")]
    assert messages.errors == ["a error"]
    assert said[:4] == [
        "virt-v2v: a message",
        "virt-v2v warning: a warning",
        "virt-v2v error: a error",
        "virt-v2v info: a info",
    ]
    assert said[4:] == []
