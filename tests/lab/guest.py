"""The lab's guests: a Debian 12 with two disks, made by mmdebstrap and guestfish, as it would run on VMware.

The usual one boots with BIOS from an ext4 root on a PVSCSI disk, mounts a second disk by UUID at /srv, and has a static
address on ens192. Its initramfs holds VMware's drivers and no virtio. The name ens192 is not written anywhere but in
/etc/network/interfaces: it comes from the PCI slot, as on VMware. At boot it reports on itself (guest_report.py).
The others differ in what recipes.py says.
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
from tests.lab.recipes import DEBIAN12, Recipe
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
ESP_MIB = 64
MARKER_BYTES = 4 << 20

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
    recipe: Recipe = DEBIAN12

    def vm(self, name: str = "deb12", *, on: bool = True) -> VmSpec:
        """The guest as a VM of the lab."""
        nic = NicSpec(mac=self.mac, slot=self.slot, ip=self.address, prefix=self.prefix)
        disks = [DiskSpec(disk) for disk in self.disks]
        return VmSpec(name, disks, [nic], on=on, hostname=self.hostname, firmware=self.recipe.firmware)


def recipe_digest(recipe: Recipe = DEBIAN12) -> str:
    """A hash of everything that the image is made from."""
    here = Path(__file__).parent
    parts = [(here / name).read_bytes() for name in ("guest.py", "guest_report.py")]
    return hashlib.sha256(b"".join([*parts, repr(recipe.parts).encode()])).hexdigest()


def build_guest(recipe: Recipe = DEBIAN12, cache: Path | None = None) -> Guest:
    """The guest from the cache, built first when its recipe changed (minutes; needs a Debian mirror and libguestfs)."""
    cache = cache or cache_directory()
    directory = cache / f"guest-{recipe.name}-{recipe_digest(recipe)[:16]}"
    with locked(cache / "guest.lock"):
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="guest-build-") as work:
                _build(Path(work), recipe)
                Path(work).rename(directory)
                Path(work).mkdir()  # for TemporaryDirectory to remove
    meta = json.loads((directory / "guest.json").read_text())
    return Guest(
        directory,
        [directory / "system.raw", directory / "data.raw"],
        [directory / "vmlinuz", directory / "initrd.img"],
        meta["markers"],
        root_uuid=meta["root_uuid"],
        recipe=recipe,
    )


def _build(work: Path, recipe: Recipe) -> None:
    root_uuid, data_uuid = str(uuid.uuid4()), str(uuid.uuid4())
    markers = {"/": secrets.token_bytes(MARKER_BYTES), "/srv": secrets.token_bytes(MARKER_BYTES)}
    (work / "srv-marker").write_bytes(markers["/srv"])
    _bootstrap(work, recipe, root_uuid, data_uuid, markers["/"])
    _extract_boot(work)
    _install(work, recipe, root_uuid, data_uuid)
    for name in ("tree", "root.tar", "srv-marker"):
        path = work / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    digests = {point: hashlib.sha256(data).hexdigest() for point, data in markers.items()}
    (work / "guest.json").write_text(json.dumps({"markers": digests, "root_uuid": root_uuid}, indent=1))


def _bootstrap(work: Path, recipe: Recipe, root_uuid: str, data_uuid: str, marker: bytes) -> None:
    """root.tar: the packages, with the files of `tree` laid over them before the initramfs is made."""
    tree = work / "tree"
    modules = "\n".join(recipe.drivers) + "\n"
    files: dict[str, bytes] = {
        "etc/hostname": f"{HOSTNAME}\n".encode(),
        "etc/resolv.conf": f"nameserver {GATEWAY}\n".encode(),
        "etc/hosts": f"127.0.0.1 localhost\n{ADDRESS} {HOSTNAME}\n".encode(),
        "etc/fstab": _fstab(recipe, root_uuid, data_uuid).encode(),
        "etc/network/interfaces": INTERFACES.encode(),
        "etc/initramfs-tools/modules": modules.encode(),
        "etc/dracut.conf.d/lab.conf": f'hostonly="no"\ndrivers="{" ".join(recipe.drivers)}"\n'.encode(),
        "etc/systemd/system/guest-report.service": REPORT_UNIT.encode(),
        "usr/local/sbin/guest-report": (Path(__file__).parent / "guest_report.py").read_bytes(),
        "var/lib/marker": marker,
    }
    other = "initramfs-tools" if recipe.initramfs == "dracut" else "dracut"
    files = {name: content for name, content in files.items() if not name.startswith(f"etc/{other}")}
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
    argv = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
        *_initramfs_hooks(recipe, tree),
        f"--customize-hook=sed -i 's/^ID=.*/ID={recipe.os_id}/' \"$1/usr/lib/os-release\"",
        '--customize-hook=chroot "$1" systemctl enable guest-report.service',
        "bookworm",
        str(work / "root.tar"),
    ]
    run(argv)


def _initramfs_hooks(recipe: Recipe, tree: Path) -> tuple[str, ...]:
    copy = f"--customize-hook=sync-in {shlex.quote(str(tree))} /"
    if recipe.initramfs == "dracut":
        return (copy, '--customize-hook=chroot "$1" dracut --force --regenerate-all')
    return (
        # before the kernel's package makes a first, large one
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"',
        '--essential-hook=echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"',
        copy,
        '--customize-hook=chroot "$1" update-initramfs -u -k all',
    )


def _fstab(recipe: Recipe, root_uuid: str, data_uuid: str) -> str:
    root, data = f"UUID={root_uuid}", f"UUID={data_uuid}"
    if recipe.by_device:
        root, data = "/dev/sda1", "/dev/sdb1"
    lines = [f"{root} / ext4 errors=remount-ro 0 1", f"{data} /srv ext4 defaults 0 2"]
    if recipe.firmware == "efi":
        lines.append("LABEL=ESP /boot/efi vfat umask=0077 0 1")
    return "\n".join(lines) + "\n"


def _extract_boot(work: Path) -> None:
    """vmlinuz and initrd.img, the very files that the disk boots: the proof starts them with a serial console."""
    with tarfile.open(work / "root.tar") as tar:
        for member in tar:
            name = Path(member.name).name
            for prefix, target in (("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd.img")):
                if member.isfile() and name.startswith(prefix) and (source := tar.extractfile(member)):
                    (work / target).write_bytes(source.read())


def _install(work: Path, recipe: Recipe, root_uuid: str, data_uuid: str) -> None:
    """Partition and fill both disks in the libguestfs appliance; GRUB is installed from inside the guest's own tree."""
    for name, size in (("system.raw", SYSTEM_MIB), ("data.raw", DATA_MIB)):
        with (work / name).open("wb") as file:
            file.truncate(size << 20)
    root = "/dev/sda1"
    system = f"""\
part-init /dev/sda mbr
part-add /dev/sda p 2048 -2048
part-set-bootable /dev/sda 1 true
mkfs ext4 {root}
"""
    boot = "mount /dev/sda1 /"
    grub = "--target=i386-pc /dev/sda"
    if recipe.firmware == "efi":
        esp = (SYSTEM_MIB - ESP_MIB) << 11  # the sector where it begins
        system = f"""\
part-init /dev/sda gpt
part-add /dev/sda p 2048 {esp - 1}
part-add /dev/sda p {esp} -2048
part-set-gpt-type /dev/sda 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B
mkfs ext4 {root}
mkfs vfat /dev/sda2 label:ESP
"""
        boot = "mount /dev/sda1 /\nmkdir-p /boot/efi\nmount /dev/sda2 /boot/efi"
        grub = "--target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=debian --no-nvram"
    script = f"""\
run
{system}set-uuid {root} {root_uuid}
part-init /dev/sdb mbr
part-add /dev/sdb p 2048 -2048
mkfs ext4 /dev/sdb1
set-uuid /dev/sdb1 {data_uuid}
{boot}
tar-in {work}/root.tar /
write /etc/machine-id "{uuid.uuid4().hex}\\n"
mount /dev/sdb1 /srv
upload {work}/srv-marker /srv/marker
command "grub-install {grub}"
command "update-grub"
"""
    disks = ["--format=raw", "-a", str(work / "system.raw"), "--format=raw", "-a", str(work / "data.raw")]
    run(["guestfish", *disks], stdin=script)
