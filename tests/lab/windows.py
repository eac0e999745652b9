"""Windows as far as a converter looks: NTFS, a registry, a few names. It never boots."""

import hashlib
import struct
import tempfile
from pathlib import Path

from tests.lab import hives
from tests.lab.cache import cache_directory, locked
from tests.lab.toolchain import run

SIZE_MIB = 160
HOSTNAME = "ferry-windows"
DISK_ID = bytes.fromhex("feedc0de")
START_SECTOR = 2048

SYSTEM = rf"""
[HKEY_LOCAL_MACHINE\SYSTEM\Select]
"Current"=dword:00000001
"Default"=dword:00000001
"Failed"=dword:00000000
"LastKnownGood"=dword:00000001

[HKEY_LOCAL_MACHINE\SYSTEM\MountedDevices]
"\\DosDevices\\C:"=hex:{",".join(f"{byte:02x}" for byte in DISK_ID + (START_SECTOR * 512).to_bytes(8, "little"))}

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\CrashControl]
"AutoReboot"=dword:00000001

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\pvscsi]
"Start"=dword:00000000

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\Tcpip\Parameters]
"Hostname"="{HOSTNAME}"

[HKEY_LOCAL_MACHINE\SYSTEM\DriverDatabase]
"Version"=dword:0a000000
"""
SOFTWARE = r"""
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion]
"ProductName"="Windows Server 2019 Standard"
"CurrentMajorVersionNumber"=dword:0000000a
"CurrentMinorVersionNumber"=dword:00000000
"CurrentVersion"="6.3"
"CurrentBuildNumber"="17763"
"InstallationType"="Server"

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion]
"DevicePath"="%SystemRoot%\\inf"

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\Tools]
"DisplayName"="VMware Tools"
"UninstallString"="MsiExec.exe /I{3EDFBC0D-1CB0-42AF-80A6-5B4F3A6D8C6F}"
"""


def build_windows(cache: Path | None = None) -> Path:
    """A raw disk with Windows Server 2019 from the cache, made first when its recipe changed."""
    cache = cache or cache_directory()
    recipe = b"".join(Path(str(module.__file__)).read_bytes() for module in (hives,)) + Path(__file__).read_bytes()
    disk = cache / f"windows-{hashlib.sha256(recipe).hexdigest()[:16]}.raw"
    with locked(cache / "windows.lock"):
        if not disk.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="windows-build-") as work:
                _build(Path(work)).rename(disk)
    return disk


def _build(work: Path) -> Path:
    hives.make_hive(work / "system", r"HKEY_LOCAL_MACHINE\SYSTEM", SYSTEM)
    hives.make_hive(work / "software", r"HKEY_LOCAL_MACHINE\SOFTWARE", SOFTWARE)
    (work / "cmd.exe").write_bytes(_program())
    disk = work / "windows.raw"
    with disk.open("wb") as file:
        file.truncate(SIZE_MIB << 20)
    config = "/Windows/System32/config"
    commands = f"""\
run
part-init /dev/sda mbr
part-add /dev/sda p {START_SECTOR} -2048
part-set-mbr-id /dev/sda 1 7
mkfs ntfs /dev/sda1
mount /dev/sda1 /
mkdir-p {config}
mkdir-p /Windows/System32/drivers
mkdir "/Program Files"
upload {work}/system {config}/SYSTEM
upload {work}/software {config}/SOFTWARE
upload {work}/cmd.exe /Windows/System32/cmd.exe
umount-all
"""
    run(["guestfish", "--format=raw", "-a", str(disk)], stdin=commands)
    with disk.open("r+b") as file:
        file.seek(0x1B8)
        file.write(DISK_ID)
    return disk


def _program() -> bytes:
    """Headers by which cmd.exe is taken for a program of 64 bits."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 0, 0, 0, 0, 240, 0x22)
    optional = struct.pack("<H", 0x20B).ljust(68, b"\0") + struct.pack("<H", 3)  # a console program
    return (dos.ljust(0x80, b"\0") + coff + optional).ljust(1024, b"\0")
