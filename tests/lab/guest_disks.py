"""The disks of the lab's guests: partitioned and filled in the libguestfs appliance, GRUB by the guest's own tools."""

import uuid
from pathlib import Path
from typing import Any

from tests.lab.appliance import started
from tests.lab.guest_tree import LUKS_KEY, VOLUME, Ids
from tests.lab.recipes import Recipe

SYSTEM_MIB = 2048
BOOT_MIB = 256
ESP_MIB = 64
START = 2048  # the sector where the first partition begins
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def fill(work: Path, recipe: Recipe, ids: Ids, markers: dict[str, bytes]) -> list[Path]:
    """The images, made from root.tar; raises RuntimeError as the bindings do."""
    images = []
    for number, size in enumerate((SYSTEM_MIB, *recipe.data_mib)):
        image = work / f"disk{number}.raw"
        with image.open("wb") as file:
            file.truncate(size << 20)
        images.append(image)
    with started(images, "raw") as g:
        _system(g, recipe, ids)
        g.tar_in(str(work / "root.tar"), "/")
        g.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        for folder in ("/etc", "/var"):
            g.touch(f"{folder}/.updated")  # or its first boot, and each of tests is one, brings catalogs up to date
        g.write("/var/lib/marker", markers["/"])
        for number, point in enumerate(recipe.points):
            _data(g, recipe, ids, number)
            g.mkdir_p(point)
            g.mount(_data_device(recipe, number), point)
            g.write(f"{point}/marker", markers[point])
        _boot_loader(g, recipe)
        g.umount_all()
        g.shutdown()
    return images


def _system(g: Any, recipe: Recipe, ids: Ids) -> None:
    """Partition the first disk, and mount its file systems. The root comes last, and gets what is left."""
    efi = recipe.firmware == "efi"
    sizes = [BOOT_MIB] * recipe.boot + [ESP_MIB] * efi + [SYSTEM_MIB]
    g.part_init("/dev/sda", "gpt" if efi else "mbr")
    start = START
    for size in sizes:
        end = start + (size << 11) - 1
        g.part_add("/dev/sda", "p", start, -START if size == SYSTEM_MIB else end)
        start = end + 1
    names = [f"/dev/sda{number}" for number in range(1, len(sizes) + 1)]
    if not efi:
        g.part_set_bootable("/dev/sda", 1, True)
    _root(g, recipe, ids, names[-1])
    if recipe.boot:
        g.mkfs("ext4", names[0])
        g.set_uuid(names[0], ids.boot)
        g.mkdir("/boot")
        g.mount(names[0], "/boot")
    if efi:
        g.part_set_gpt_type("/dev/sda", len(sizes) - 1, ESP_TYPE)
        g.mkfs("vfat", names[-2], label="ESP")
        g.mkdir_p("/boot/efi")
        g.mount(names[-2], "/boot/efi")


def _root(g: Any, recipe: Recipe, ids: Ids, partition: str) -> None:
    root = partition
    if recipe.luks == "root":
        root = _encrypt(g, ids, partition, "root")
    if recipe.lvm:
        g.pvcreate(root)
        g.vgcreate("system", [root])
        g.lvcreate_free("root", "system", 100)
        root = VOLUME
    g.mkfs(recipe.root, root)
    g.set_uuid(root, ids.root)
    g.mount(root, "/")


def _data(g: Any, recipe: Recipe, ids: Ids, number: int) -> None:
    disk = f"/dev/sd{chr(ord('b') + number)}"
    g.part_init(disk, "mbr")
    g.part_add(disk, "p", START, -START)
    if recipe.luks == "data" and number == 0:
        _encrypt(g, ids, f"{disk}1", "data")
    device = _data_device(recipe, number)
    g.mkfs("ext4", device)
    g.set_uuid(device, ids.data[number])


def _data_device(recipe: Recipe, number: int) -> str:
    return "/dev/mapper/data" if recipe.luks == "data" and number == 0 else f"/dev/sd{chr(ord('b') + number)}1"


def _encrypt(g: Any, ids: Ids, device: str, name: str) -> str:
    """Its key derived cheaply: with the usual way a small guest without KVM takes minutes to open it."""
    cheap = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
    inside = device.replace("/dev/sd", "/dev/disk/guestfs/disk")
    g.debug("sh", [f'printf %s "{LUKS_KEY}" | cryptsetup -q luksFormat {cheap} --uuid {ids.luks} {inside} -'])
    g.cryptsetup_open(device, LUKS_KEY, name)
    return f"/dev/mapper/{name}"


def _boot_loader(g: Any, recipe: Recipe) -> None:
    where = ["--target=i386-pc", "/dev/disk/guestfs/diska"]
    if recipe.firmware == "efi":
        where = ["--target=x86_64-efi", "--efi-directory=/boot/efi", "--bootloader-id=debian", "--no-nvram"]
    g.command(["grub-install", *where])
    g.command(["update-grub"])
