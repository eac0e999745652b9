"""The lab's guest: a Debian 12 with two disks, made by mmdebstrap and guestfish, as it would run on VMware.

It boots with BIOS from an ext4 root on a PVSCSI disk, mounts a second disk by UUID at /srv, and has a static address
on ens192. Its initramfs holds VMware's drivers and no virtio. The name ens192 is not written anywhere but in
/etc/network/interfaces: it comes from the PCI slot, as on VMware. At boot it reports on itself (guest_report.py).
"""

import hashlib
import json
import secrets
import shlex
import shutil
import tarfile
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import cache_directory, locked
from tests.lab.specs import DiskSpec, NicSpec, VmSpec
from tests.lab.toolchain import run

HOSTNAME = "ferry-guest"
ADDRESS = "192.168.50.10"
PREFIX = 24
GATEWAY = "192.168.50.1"
NIC = "ens192"
SLOT = 192
MAC = "00:50:56:8a:50:10"
REPORT_PREFIX = "VMFERRY-REPORT "
SYSTEM_MIB = 2048
DATA_MIB = 512
MARKER_BYTES = 4 << 20

PACKAGES = (
    "linux-image-amd64",
    "systemd-sysv",
    "udev",
    "dbus",
    "initramfs-tools",
    "grub-pc",
    "ifupdown",
    "iproute2",
    "kmod",
    "open-vm-tools",
    "python3",
)
MODULES = ("vmw_pvscsi", "vmxnet3", "sd_mod", "ext4", "crc32c_generic")
# what a server in a VM never loads: three quarters of the kernel package
UNUSED_DRIVERS = (
    *("bluetooth", "comedi", "gpu", "hid", "hwmon", "iio", "infiniband", "isdn", "media", "mtd", "net/ethernet"),
    *("net/wireless", "platform", "scsi/?*", "staging", "target", "usb"),
)
EXCLUDED = (
    *(f"/lib/modules/*/kernel/drivers/{name}/*" for name in UNUSED_DRIVERS),
    *(f"/lib/modules/*/kernel/{name}/*" for name in ("net/bluetooth", "net/mac80211", "net/wireless", "sound")),
    "/lib/modules/*/kernel/lib/test_*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
)
REPORT_UNIT = """\
[Unit]
Description=Self-report of the lab's guest
After=networking.service local-fs.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /usr/local/sbin/guest-report

[Install]
WantedBy=multi-user.target
"""
INTERFACES = f"""\
auto lo
iface lo inet loopback

auto {NIC}
iface {NIC} inet static
    address {ADDRESS}/{PREFIX}
    gateway {GATEWAY}
"""


@dataclass(frozen=True)
class Guest:
    """A built guest. disks: raw images, the system first, then the data; boot: its kernel and initramfs."""

    directory: Path
    disks: list[Path]
    boot: list[Path]
    markers: dict[str, str]
    hostname: str = HOSTNAME
    address: str = ADDRESS
    prefix: int = PREFIX
    nic: str = NIC
    slot: int = SLOT
    mac: str = MAC
    root_uuid: str = ""

    def vm(self, name: str = "deb12", *, on: bool = True) -> VmSpec:
        """The guest as a VM of the lab."""
        nic = NicSpec(mac=self.mac, slot=self.slot, ip=self.address, prefix=self.prefix)
        return VmSpec(name, [DiskSpec(disk) for disk in self.disks], [nic], on=on, hostname=self.hostname)


def recipe_digest() -> str:
    """A hash of everything that the image is made from."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in ("guest.py", "guest_report.py"))).hexdigest()


def build_guest(cache: Path | None = None) -> Guest:
    """The guest from the cache, built first when its recipe changed (minutes; needs a Debian mirror and libguestfs)."""
    cache = cache or cache_directory()
    directory = cache / f"guest-{recipe_digest()[:16]}"
    with locked(cache / "guest.lock"):
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="guest-build-") as work:
                _build(Path(work))
                Path(work).rename(directory)
                Path(work).mkdir()  # for TemporaryDirectory to remove
    meta = json.loads((directory / "guest.json").read_text())
    return Guest(
        directory,
        [directory / "system.raw", directory / "data.raw"],
        [directory / "vmlinuz", directory / "initrd.img"],
        meta["markers"],
        root_uuid=meta["root_uuid"],
    )


def _build(work: Path) -> None:
    root_uuid, data_uuid = str(uuid.uuid4()), str(uuid.uuid4())
    markers = {"/": secrets.token_bytes(MARKER_BYTES), "/srv": secrets.token_bytes(MARKER_BYTES)}
    (work / "srv-marker").write_bytes(markers["/srv"])
    _bootstrap(work, root_uuid, data_uuid, markers["/"])
    _extract_boot(work)
    _install(work, root_uuid, data_uuid)
    for name in ("tree", "root.tar", "srv-marker"):
        path = work / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    digests = {point: hashlib.sha256(data).hexdigest() for point, data in markers.items()}
    (work / "guest.json").write_text(json.dumps({"markers": digests, "root_uuid": root_uuid}, indent=1))


def _bootstrap(work: Path, root_uuid: str, data_uuid: str, marker: bytes) -> None:
    """root.tar: the packages, with the files of `tree` laid over them before the initramfs is made."""
    tree = work / "tree"
    modules = "\n".join(MODULES) + "\n"
    fstab = f"UUID={root_uuid} / ext4 errors=remount-ro 0 1\nUUID={data_uuid} /srv ext4 defaults 0 2\n"
    files: dict[str, bytes] = {
        "etc/hostname": f"{HOSTNAME}\n".encode(),
        "etc/hosts": f"127.0.0.1 localhost\n{ADDRESS} {HOSTNAME}\n".encode(),
        "etc/machine-id": f"{uuid.uuid4().hex}\n".encode(),
        "etc/fstab": fstab.encode(),
        "etc/network/interfaces": INTERFACES.encode(),
        "etc/initramfs-tools/modules": modules.encode(),
        "etc/systemd/system/guest-report.service": REPORT_UNIT.encode(),
        "usr/local/sbin/guest-report": (Path(__file__).parent / "guest_report.py").read_bytes(),
        "var/lib/marker": marker,
    }
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
    argv = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
        # before the kernel's package makes a first, large one
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"',
        '--essential-hook=echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"',
        f"--customize-hook=sync-in {shlex.quote(str(tree))} /",
        '--customize-hook=chroot "$1" update-initramfs -u -k all',
        '--customize-hook=chroot "$1" systemctl enable guest-report.service',
        "bookworm",
        str(work / "root.tar"),
    ]
    run(argv)


def _extract_boot(work: Path) -> None:
    """vmlinuz and initrd.img, the very files that the disk boots: the proof starts them with a serial console."""
    with tarfile.open(work / "root.tar") as tar:
        for member in tar:
            name = Path(member.name).name
            for prefix, target in (("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd.img")):
                if member.isfile() and name.startswith(prefix) and (source := tar.extractfile(member)):
                    (work / target).write_bytes(source.read())


def _install(work: Path, root_uuid: str, data_uuid: str) -> None:
    """Partition and fill both disks in the libguestfs appliance; GRUB is installed from inside the guest's own tree."""
    for name, size in (("system.raw", SYSTEM_MIB), ("data.raw", DATA_MIB)):
        with (work / name).open("wb") as file:
            file.truncate(size << 20)
    script = f"""\
run
part-init /dev/sda mbr
part-add /dev/sda p 2048 -2048
part-set-bootable /dev/sda 1 true
mkfs ext4 /dev/sda1
set-uuid /dev/sda1 {root_uuid}
part-init /dev/sdb mbr
part-add /dev/sdb p 2048 -2048
mkfs ext4 /dev/sdb1
set-uuid /dev/sdb1 {data_uuid}
mount /dev/sda1 /
tar-in {work}/root.tar /
mount /dev/sdb1 /srv
upload {work}/srv-marker /srv/marker
command "grub-install --target=i386-pc /dev/sda"
command "update-grub"
"""
    disks = ["--format=raw", "-a", str(work / "system.raw"), "--format=raw", "-a", str(work / "data.raw")]
    run(["guestfish", *disks], stdin=script)
