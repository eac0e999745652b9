"""The files that make a plain Debian the guest of a recipe: they are laid over its packages' own."""

from pathlib import Path
from typing import NamedTuple

from tests.lab.recipes import Recipe

HOSTNAME = "ferry-guest"
PREFIX = 24
GATEWAY = "192.168.50.1"
NIC = "ens192"
VOLUME = "/dev/system/root"
LUKS_KEY = "the lab's passphrase"
KEY_FILE = "etc/keys/data.key"
SECRET = ("etc/keys/", "etc/netplan/", "etc/NetworkManager/")
REPORT_UNIT = """\
[Unit]
Description=Self-report of the lab's guest
Wants=network-online.target
After=network-online.target local-fs.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /usr/local/sbin/guest-report

[Install]
WantedBy=multi-user.target
"""


class Ids(NamedTuple):
    """UUIDs of file systems; `luks`: of what is encrypted."""

    root: str
    boot: str
    luks: str
    data: tuple[str, ...]


def files(recipe: Recipe, ids: Ids) -> dict[str, bytes]:
    """Path → content."""
    network, text = network_file(recipe)
    found = {
        "etc/hostname": f"{HOSTNAME}\n",
        "etc/hosts": f"127.0.0.1 localhost\n{recipe.address} {HOSTNAME}\n",
        "etc/fstab": fstab(recipe, ids),
        "etc/default/grub.d/lab.cfg": "GRUB_TIMEOUT=0\n",
        network: text,
        "etc/systemd/system/guest-report.service": REPORT_UNIT,
        "usr/local/sbin/guest-report": (Path(__file__).parent / "guest_report.py").read_text(),
    }
    if recipe.network != "netplan":  # there it is a link to what systemd-resolved writes
        found["etc/resolv.conf"] = f"nameserver {GATEWAY}\n"
    if recipe.luks:
        name, key = ("root", "none") if recipe.luks == "root" else ("data", f"/{KEY_FILE}")
        options = "luks,initramfs" if recipe.luks == "root" else "luks"
        found["etc/crypttab"] = f"{name} UUID={ids.luks} {key} {options}\n"
    if recipe.luks == "data":
        found[KEY_FILE] = LUKS_KEY
    if recipe.initramfs == "dracut":
        found["etc/dracut.conf.d/lab.conf"] = f'hostonly="no"\ndrivers="{" ".join(recipe.modules)}"\n'
    else:
        found["etc/initramfs-tools/modules"] = "\n".join(recipe.modules) + "\n"
    return {path: content.encode() for path, content in found.items()}


def network_file(recipe: Recipe) -> tuple[str, str]:
    """(path, text) of what gives the card its address, and names it."""
    cidr = f"{recipe.address}/{PREFIX}"
    return {
        "ifupdown": (
            "etc/network/interfaces",
            f"auto lo\niface lo inet loopback\n\n"
            f"auto {NIC}\niface {NIC} inet static\n    address {cidr}\n    gateway {GATEWAY}\n",
        ),
        "networkd": (
            "etc/systemd/network/50-lan.network",
            f"[Match]\nName={NIC}\n\n[Network]\nAddress={cidr}\nGateway={GATEWAY}\n",
        ),
        "netplan": (
            "etc/netplan/50-lan.yaml",
            f"network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    {NIC}:\n"
            f"      addresses: [{cidr}]\n      routes: [{{to: default, via: {GATEWAY}}}]\n"
            f"      nameservers: {{addresses: [{GATEWAY}]}}\n",
        ),
        "NetworkManager": (
            "etc/NetworkManager/system-connections/lan.nmconnection",
            f"[connection]\nid=lan\ntype=ethernet\ninterface-name={NIC}\n\n"
            f"[ipv4]\nmethod=manual\naddress1={cidr},{GATEWAY}\ndns={GATEWAY};\n",
        ),
    }[recipe.network]


def fstab(recipe: Recipe, ids: Ids) -> str:
    root = f"UUID={ids.root}"
    data = [f"UUID={uuid}" for uuid in ids.data]
    if recipe.by_device:
        root, data = "/dev/sda1", [f"/dev/sd{chr(ord('b') + number)}1" for number in range(len(data))]
    if recipe.lvm:
        root = "/dev/mapper/system-root"
    options = "errors=remount-ro 0 1" if recipe.root == "ext4" else "defaults 0 0"
    lines = [f"{root} / {recipe.root} {options}"]
    if recipe.boot:
        lines.append(f"UUID={ids.boot} /boot ext4 defaults 0 2")
    if recipe.firmware == "efi":
        lines.append("LABEL=ESP /boot/efi vfat umask=0077 0 1")
    lines += [f"{device} {point} ext4 defaults 0 2" for device, point in zip(data, recipe.points, strict=True)]
    return "\n".join(lines) + "\n"


def write(recipe: Recipe, ids: Ids, tree: Path) -> None:
    for name, content in files(recipe, ids).items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600 if name.startswith(SECRET) else 0o644)
