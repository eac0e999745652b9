"""The lab's guests: Debians with several disks, made by mmdebstrap and libguestfs, as they would run on VMware.

The usual one boots with BIOS from an ext4 root on a PVSCSI disk, mounts a second disk by UUID at /srv, and has a static
address on ens192. Its initramfs holds VMware's drivers and no virtio. The name ens192 is not written anywhere but in
the guest's configuration of its network: it comes from the PCI slot, as on VMware. At boot it reports on itself
(guest_report.py). The others differ in what recipes.py says.
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

from tests.lab import guest_disks, guest_tree
from tests.lab.cache import cache_directory, locked
from tests.lab.guest_tree import HOSTNAME, NIC, PREFIX, Ids
from tests.lab.recipes import DEBIAN12, Recipe
from tests.lab.specs import DiskSpec, NicSpec, VmSpec
from tests.lab.toolchain import run

SLOT = 192
REPORT_PREFIX = "VMFERRY-REPORT "
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


@dataclass(frozen=True)
class Guest:
    """A built guest. disks: raw images, the system first, then the data; boot: its kernel and initramfs."""

    directory: Path
    disks: list[Path]
    boot: list[Path]
    markers: dict[str, str]
    root_uuid: str
    recipe: Recipe = DEBIAN12
    hostname: str = HOSTNAME
    prefix: int = PREFIX
    nic: str = NIC
    slot: int = SLOT

    @property
    def address(self) -> str:
        return self.recipe.address

    @property
    def mac(self) -> str:
        return self.recipe.mac

    def vm(self, name: str = "deb12", *, on: bool = True) -> VmSpec:
        """The guest as a VM of the lab. One without VMware's Tools is off: nobody could shut it down."""
        nic = NicSpec(mac=self.mac, slot=self.slot, ip=self.address, prefix=self.prefix)
        disks = [DiskSpec(disk, bus=self.bus(number)) for number, disk in enumerate(self.disks)]
        recipe = self.recipe
        return VmSpec(
            name,
            disks,
            [nic],
            on=on and recipe.tools,
            tools=recipe.tools,
            hostname=self.hostname,
            firmware=recipe.firmware,
            guest_id=recipe.said_to_be,
        )

    def bus(self, number: int) -> int:
        """The controller that a disk hangs on: as many on each, in order."""
        return number * self.recipe.controllers // len(self.disks)


def recipe_digest(recipe: Recipe = DEBIAN12) -> str:
    """A hash of everything that the image is made from."""
    here = Path(__file__).parent
    parts = [(here / name).read_bytes() for name in ("guest.py", "guest_tree.py", "guest_disks.py", "guest_report.py")]
    return hashlib.sha256(b"".join([*parts, repr(recipe.image).encode()])).hexdigest()


def build_guest(recipe: Recipe = DEBIAN12, cache: Path | None = None) -> Guest:
    """The guest from the cache, built first when its recipe changed (minutes; needs a Debian mirror and libguestfs)."""
    cache = cache or cache_directory()
    directory = cache / f"guest-{recipe.name}-{recipe_digest(recipe)[:16]}"
    with locked(cache / f"guest-{recipe.name}.lock"):
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="guest-build-") as work:
                _build(Path(work), recipe)
                Path(work).rename(directory)
                Path(work).mkdir()  # for TemporaryDirectory to remove
    meta = json.loads((directory / "guest.json").read_text())
    return Guest(
        directory,
        [directory / name for name in meta["disks"]],
        [directory / "vmlinuz", directory / "initrd.img"],
        meta["markers"],
        meta["root_uuid"],
        recipe,
    )


def _build(work: Path, recipe: Recipe) -> None:
    root, boot, luks, *data = (str(uuid.uuid4()) for _ in range(3 + len(recipe.data_mib)))
    ids = Ids(root, boot, luks, tuple(data))
    markers = {point: secrets.token_bytes(MARKER_BYTES) for point in ("/", *recipe.points)}
    _bootstrap(work, recipe, ids)
    _extract_boot(work)
    images = guest_disks.fill(work, recipe, ids, markers)
    shutil.rmtree(work / "tree")
    (work / "root.tar").unlink()
    digests = {point: hashlib.sha256(content).hexdigest() for point, content in markers.items()}
    names = [image.name for image in images]
    (work / "guest.json").write_text(json.dumps({"disks": names, "markers": digests, "root_uuid": root}, indent=1))


def _bootstrap(work: Path, recipe: Recipe, ids: Ids) -> None:
    """root.tar: the packages, with the files of `tree` laid over them before the initramfs is made."""
    tree = work / "tree"
    guest_tree.write(recipe, ids, tree)
    enabled = ["guest-report.service", *(["systemd-networkd.service"] if recipe.network == "networkd" else [])]
    argv = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
        *_initramfs_hooks(recipe, tree),
        f"--customize-hook=sed -i 's/^ID=.*/ID={recipe.os_id}/' \"$1/usr/lib/os-release\"",
        f'--customize-hook=chroot "$1" systemctl enable {" ".join(enabled)}',
        recipe.suite,
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


def _extract_boot(work: Path) -> None:
    """vmlinuz and initrd.img, the very files that the disk boots: the proof starts them with a serial console."""
    with tarfile.open(work / "root.tar") as tar:
        for member in tar:
            name = Path(member.name).name
            for prefix, target in (("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd.img")):
                if member.isfile() and name.startswith(prefix) and (source := tar.extractfile(member)):
                    (work / target).write_bytes(source.read())
