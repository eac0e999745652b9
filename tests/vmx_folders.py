"""VM folders as VMware leaves them, for tests: a .vmx with what is asked for, disks beside it, locks while it runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from app.domain.models import SourceSpec
from tests.hostile.sparse_files import text

UUID = "56 4d ee 3c 52 06 a3 de-be 4a 73 9c cc 99 15 1f"


def spec(host: str | Path) -> SourceSpec:
    return SourceSpec(id="v", name="vmx", kind="vmx", host=str(host))


def escaped(value: str) -> str:
    return "".join(f"|{ord(c):02X}" if c in '|"' or ord(c) < 32 else c for c in value)


def write_vmx(path: Path, name: str, disks: Mapping[str, str], **more: str) -> Path:
    """A .vmx with two CPUs, 1 GiB, a card and `disks` (node → file name) on a pvscsi controller.

    `more`: other keys, with __ for a dot, in place of these.
    """
    values = {
        ".encoding": "UTF-8",
        "displayName": name,
        "guestOS": "debian12-64",
        "memsize": "1024",
        "numvcpus": "2",
        "uuid.bios": UUID,
        "scsi0.present": "TRUE",
        "scsi0.virtualDev": "pvscsi",
        "ethernet0.present": "TRUE",
        "ethernet0.virtualDev": "vmxnet3",
        "ethernet0.networkName": "VM Network",
        "ethernet0.generatedAddress": "00:50:56:00:00:01",
        "ethernet0.pciSlotNumber": "192",
    }
    for node, file in disks.items():
        values |= {f"{node}.present": "TRUE", f"{node}.fileName": file}
    values |= {key.replace("__", "."): value for key, value in more.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{key} = "{escaped(value)}"\n' for key, value in values.items()), encoding="utf-8")
    return path


def write_flat(folder: Path, name: str, data: bytes) -> None:
    """A flat disk: NAME.vmdk and NAME-flat.vmdk."""
    (folder / f"{name}-flat.vmdk").write_bytes(data)
    extent = f'RW {len(data) // 512} VMFS "{name}-flat.vmdk"'
    (folder / f"{name}.vmdk").write_bytes(text("vmfs", extent))


def lock(vmx: Path) -> None:
    """As Workstation does when it starts the VM."""
    folder = vmx.with_name(f"{vmx.name}.lck")
    folder.mkdir()
    (folder / "M12345.lck").write_bytes(b"host")


def unlock(vmx: Path) -> None:
    shutil.rmtree(vmx.with_name(f"{vmx.name}.lck"))
    time.sleep(0.02)  # the kernel's clock, by which files are dated, stands still for some milliseconds
