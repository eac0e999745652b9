"""An RPM distribution as far as a converter looks, its root on LUKS: packages, a kernel, dracut. It never boots.

The package database is real, made by rpmbuild and rpm. What a converter runs in the guest are scripts for a static
busybox, which note how they were called in /var/log/lab: rpm answers from lists, dracut packs the drivers that it is
told to. /boot is mounted by /dev/sda1.
"""

import hashlib
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.appliance import started
from tests.lab.cache import cache_directory, locked
from tests.lab.toolchain import run

HOSTNAME = "ferry-rpm"
ADDRESS, GATEWAY = "192.168.50.40/24", "192.168.50.1"
MACHINE_ID = "9d0b6c1f1c9f4a0f9f0f6c6f4b0c2d1e"
SERVICE = "vmtoolsd.service"
KERNEL = "6.5.6-300.fc39.x86_64"
INITRAMFS = f"/boot/initramfs-{KERNEL}.img"
CALLS = "/var/log/lab"
LUKS_KEY = "the lab's RPM guest"
LUKS_UUID = "5f3c1f5e-2a0b-4c39-9d0e-6d1b8f3a7c21"
SIZE_MIB = 512
START, ROOT_START = 2048, 264192  # sectors
MODULES = (
    "block/virtio_blk",
    "net/virtio_net",
    "scsi/virtio_scsi",
    "scsi/vmw_pvscsi",
    "virtio/virtio_pci",
    "ext4/ext4",
)
PACKAGES = {"kernel-core": "6.5.6", "dracut": "059", "grub2-tools": "2.06", "open-vm-tools": "12.3.0", "rpm": "4.19.0"}

RPM = f"""\
#!/bin/sh
echo "rpm $*" >> {CALLS}
case "$1" in
-ql) cat "/usr/share/lab/${{2%%-[0-9]*}}.files" 2>/dev/null || echo "(contains no files)" ;;
-qf) echo FILE_OWNED_TEST ;;
-qa) echo open-vm-tools-12.3.0-1.x86_64 ;;
esac
"""
DRACUT = f"""\
#!/bin/sh
echo "dracut $*" >> {CALLS}
drivers="vmw_pvscsi $(sed -n 's/^add_drivers+="\\(.*\\)"/\\1/p' /etc/dracut.conf.d/*.conf 2>/dev/null)"
while [ $# -gt 2 ]; do
    [ "$1" = --add-drivers ] && drivers="$drivers $2" && shift
    shift
done
tree=/var/tmp/lab-initramfs
rm -rf $tree
mkdir -p $tree/usr/lib/modules/$2/kernel
for driver in $drivers; do : > $tree/usr/lib/modules/$2/kernel/$driver.ko; done
cd $tree && find . | cpio -o -H newc 2>/dev/null | gzip > "$1"
"""
LSINITRD = '#!/bin/sh\nzcat "$1" | cpio -t\n'
GRUBBY = f"""\
#!/bin/sh
echo "grubby $*" >> {CALLS}
[ "$1" = --default-kernel ] && echo /boot/vmlinuz-{KERNEL}
"""
TOUCHED = f'#!/bin/sh\necho "$0 $*" >> {CALLS}\n'
FILES = {
    "etc/os-release": 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=39\nPRETTY_NAME="Fedora Linux 39 (the lab\'s)"\n',
    "etc/hostname": f"{HOSTNAME}\n",
    "etc/fstab": f"/dev/mapper/luks-{LUKS_UUID} / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n",
    "etc/crypttab": f"luks-{LUKS_UUID} UUID={LUKS_UUID} none\n",
    "etc/default/grub": 'GRUB_CMDLINE_LINUX="rhgb quiet"\n',
    "etc/NetworkManager/system-connections/ens192.nmconnection": (
        "[connection]\ntype=ethernet\ninterface-name=ens192\n\n"
        f"[ipv4]\nmethod=manual\naddress1={ADDRESS},{GATEWAY}\ndns={GATEWAY};\n"
    ),
    "etc/machine-id": f"{MACHINE_ID}\n",
    f"etc/systemd/system/multi-user.target.wants/{SERVICE}": "",
    "usr/lib/rpm/rpmrc": "arch_canon: x86_64: x86_64 1\n",  # libguestfs' librpm reads the guest's configuration
    "usr/lib/rpm/macros": "%_dbpath /var/lib/rpm\n%_db_backend sqlite\n",
    "usr/lib/systemd/systemd-udevd": "",
    "usr/lib64/systemd/libsystemd-shared-254.so": "",
    "usr/bin/vmtoolsd": "",
    "boot/grub2/grub.cfg": f"linux /vmlinuz-{KERNEL} root=/dev/mapper/root ro\ninitrd /initramfs-{KERNEL}.img\n",
    f"boot/vmlinuz-{KERNEL}": "a kernel\n",
}
PROGRAMS = {
    "usr/bin/rpm": RPM,
    "usr/bin/dracut": DRACUT,
    "usr/bin/lsinitrd": LSINITRD,
    "usr/sbin/grubby": GRUBBY,
    "usr/sbin/grub2-mkconfig": TOUCHED,
}
FOLDERS = (
    *("tmp", "var/tmp", "var/log", "dev", "proc", "sys", "usr/share/lab"),
    *("etc/systemd/system", "etc/modprobe.d"),
)
APPLETS = ("sh", "cat", "cpio", "find", "gzip", "mkdir", "rm", "sed", "zcat", "chmod", "env")


@dataclass(frozen=True)
class RpmGuest:
    disk: Path  # raw
    slot: int = 192
    mac: str = "00:50:56:8a:50:99"


def build_rpm_guest(cache: Path | None = None) -> RpmGuest:
    """From the cache, made first when its recipe changed."""
    cache = cache or cache_directory()
    disk = cache / f"rpm-guest-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}.raw"
    with locked(cache / "rpm-guest.lock"):
        if not disk.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="rpm-guest-build-") as work:
                _build(Path(work)).rename(disk)
    return RpmGuest(disk)


def _build(work: Path) -> Path:
    tree = work / "tree"
    modules = [f"lib/modules/{KERNEL}/kernel/{name}.ko" for name in MODULES]
    packed = {name: _module() for name in modules} | {name: text.encode() for name, text in FILES.items()}
    for name, content in packed.items():
        path = tree / "usr" / name if name.startswith("lib/") else tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for folder in ("bin", "sbin", "lib"):
        (tree / "usr" / folder).mkdir(exist_ok=True)
        (tree / folder).symlink_to(f"usr/{folder}")
    for folder in FOLDERS:
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for name, script in PROGRAMS.items():
        (tree / name).write_text(script)
        (tree / name).chmod(0o755)
    shutil.copy("/bin/busybox", tree / "usr/bin/busybox")
    for applet in APPLETS:
        (tree / "usr/bin" / applet).symlink_to("busybox")
    listed = [f"/boot/vmlinuz-{KERNEL}", f"/lib/modules/{KERNEL}", *(f"/{name}" for name in modules)]
    (tree / "usr/share/lab/kernel-core.files").write_text("\n".join(listed) + "\n")
    _database(work, tree / "var/lib/rpm")
    run(["tar", "--owner=0", "--group=0", "-C", str(tree), "-cf", str(work / "tree.tar"), "."])
    return _disk(work)


def _database(work: Path, path: Path) -> None:
    """Packages without files: what they own, the guest's rpm says."""
    path.mkdir(parents=True)
    for name, version in PACKAGES.items():
        spec = work / f"{name}.spec"
        spec.write_text(
            f"Name: {name}\nVersion: {version}\nRelease: {'300.fc39' if name == 'kernel-core' else '1'}\n"
            "Summary: the lab's\nLicense: none\n%description\nthe lab's\n%files\n"
        )
        run(["rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", f"_topdir {work}/rpm", str(spec)])
    packages = [str(file) for file in sorted((work / "rpm").rglob("*.rpm"))]
    run(["rpm", "--dbpath", str(path), "--define", "_db_backend sqlite", "--justdb", "--nodeps", "-i", *packages])


def _disk(work: Path) -> Path:
    disk = work / "rpm.raw"
    with disk.open("wb") as file:
        file.truncate(SIZE_MIB << 20)
    with started([disk], "raw") as g:
        g.part_init("/dev/sda", "mbr")
        g.part_add("/dev/sda", "p", START, ROOT_START - 1)
        g.part_add("/dev/sda", "p", ROOT_START, -START)
        # the key is derived cheaply: the usual way takes minutes without KVM
        cheap = f"--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --uuid {LUKS_UUID}"
        g.debug("sh", [f'printf %s "{LUKS_KEY}" | cryptsetup -q luksFormat {cheap} /dev/disk/guestfs/diska2 -'])
        g.cryptsetup_open("/dev/sda2", LUKS_KEY, "root")
        g.mkfs("ext4", "/dev/sda1")
        g.mkfs("ext4", "/dev/mapper/root")
        g.mount("/dev/mapper/root", "/")
        g.mkdir("/boot")
        g.mount("/dev/sda1", "/boot")
        g.tar_in(str(work / "tree.tar"), "/")
        g.command(["/usr/bin/dracut", INITRAMFS, KERNEL])
        g.umount_all()
        g.shutdown()
    return disk


def _module() -> bytes:
    """The header of a kernel module of x86-64."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return (ident + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 0, 0, 64, 0, 0, 64, 0, 0)).ljust(256, b"\0")
