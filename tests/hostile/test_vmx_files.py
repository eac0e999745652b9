"""VM folders that lie: each is refused, or its disk is a blocker, and nothing outside the folder is ever opened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.errors import UnsafeImage, VmferryError
from app.domain.models import PowerState
from tests.hostile.sparse_files import text
from tests.hostile.watching import opened
from tests.vmx_folders import spec, write_flat, write_vmx
from workers.sources import open_source

DISK = {"scsi0:0": "disk.vmdk"}
OUTSIDE = "secret.vmdk"


def vm(disk: str, **more: str) -> Callable[[Path], object]:
    return lambda folder: write_vmx(folder / "vm.vmx", "vm", {"scsi0:0": disk}, **more)


def with_disk(descriptor: bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        write_vmx(folder / "vm.vmx", "vm", DISK)
        (folder / "disk.vmdk").write_bytes(descriptor)

    return make


def configuration(data: bytes, size: int = 0) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / "vm.vmx").write_bytes(data)
        os.truncate(folder / "vm.vmx", size or len(data))

    return make


def beside(name: str, what: Callable[[Path], object]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        write_vmx(folder / "vm.vmx", "vm", {})
        what(folder / name)

    return make


def link_disk(folder: Path) -> None:
    write_vmx(folder / "vm.vmx", "vm", DISK)
    (folder / "disk.vmdk").symlink_to(f"../{OUTSIDE}")


def pipe_disk(folder: Path) -> None:
    write_vmx(folder / "vm.vmx", "vm", DISK)
    os.mkfifo(folder / "disk.vmdk")


REFUSED: dict[str, Callable[[Path], object]] = {
    "a key twice": configuration(b'memsize = "1"\nMEMSIZE = "2"\n'),
    "8 TiB": configuration(b'memsize = "4"\n', 8 << 40),
    "5 MiB of one line": configuration(b'memsize = "4"\nx = "' + b"y" * (5 << 20) + b'"\n'),
    "300 000 keys": configuration(b"".join(b"a%d=1\n" % n for n in range(300_000))),
    "binary": configuration(bytes(range(256)) * 4),
    "a web page": configuration(b"<html>404</html>"),
    "an encoding like none": configuration(b'.encoding = "utf-7"\nmemsize = "4"\n'),
    "absurd memory": configuration(b'memsize = "' + b"9" * 4000 + b'"\n'),
    "absurd CPUs": configuration(b'memsize = "4"\nnumvcpus = "999999999999"\n'),
    "a bus that cannot be": configuration(b'memsize = "4"\nscsi77.present = "1"\nscsi77:0.present = "1"\n'),
    "a MAC that is none": configuration(b'memsize = "4"\nethernet0.present = "1"\nethernet0.address = "../x"\n'),
    "a NUL in its name": configuration(b'memsize = "4"\ndisplayName = "a|00b"\n'),
    "a pipe of snapshots": beside("vm.vmsd", os.mkfifo),
    "a link of snapshots": beside("vm.vmsd", lambda path: path.symlink_to(f"../{OUTSIDE}")),
    "a million snapshots": beside("vm.vmsd", lambda path: path.write_text('snapshot.numSnapshots = "1000000"')),
    "a link": lambda folder: (folder / "vm.vmx").symlink_to(f"../{OUTSIDE}"),
    "a pipe": lambda folder: os.mkfifo(folder / "vm.vmx"),
}  # fmt: skip

BLOCKED: dict[str, Callable[[Path], object]] = {
    "absolute": vm("/etc/shadow"),
    "in the folder above": vm(f"../{OUTSIDE}"),
    "a path of Windows": vm("D:\\VMs\\disk.vmdk"),
    "a device": vm("/dev/sda"),
    "a protocol": vm("nbd:unix:/run/s"),
    "an escaped path": vm(f"|2e|2e|2f{OUTSIDE}"),
    "the configuration itself": vm("vm.vmx"),
    "a name of 5000 characters": vm("x" * 5000),
    "nothing": vm(""),
    "a newline": vm("a\nb.vmdk"),
    "a link": link_disk,
    "a pipe": pipe_disk,
    "a raw device map": with_disk(text("vmfsRawDeviceMap", 'RW 8 VMFSRDM "disk-rdm.vmdk"')),
    "a physical disk": with_disk(text("fullDevice", 'RW 8 FLAT "/dev/sda" 0')),
    "a parent elsewhere": with_disk(
        text("vmfsSparse", 'RW 8 VMFSSPARSE "d"', parent=f"../{OUTSIDE}", parent_cid="1234")
    ),
    "an extent elsewhere": with_disk(text("monolithicFlat", f'RW 8 FLAT "../{OUTSIDE}" 0')),
    "an encrypted disk": with_disk(text("vmfs", 'RW 8 VMFS "d"', more='encryptionKeys="x"')),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / OUTSIDE)  # whoever opens it waits for ever
    folder = tmp_path / "vm"
    folder.mkdir()
    return folder


def allowed(folder: Path) -> set[str]:
    return {str(folder), *(path.name for path in folder.iterdir()), "vm.vmsd"}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_refused(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder)
    source = open_source(spec(folder))
    begun = time.monotonic()
    with opened() as paths:
        with pytest.raises(UnsafeImage) as caught:
            source.vm("vm.vmx")
        assert not source.check()[-1].ok
        for call in (source.power_state, source.power_on):
            with pytest.raises(VmferryError):
                call("vm.vmx")
    assert caught.value.remedy
    assert time.monotonic() - begun < 10
    assert set(paths) <= allowed(folder)


@pytest.mark.parametrize("make", BLOCKED.values(), ids=BLOCKED.keys())
def test_blocked(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder)
    source = open_source(spec(folder))
    with opened() as paths:
        (found,) = source.inventory()
        (concern,) = found.concerns
        assert (concern.code, concern.severity) == ("disk_not_readable", "blocker")
        assert concern.remedy
        assert not any(way.usable for way in source.ways(found))
        with pytest.raises(VmferryError), source.access("vm.vmx", "file", cancel=lambda: None):
            pass
    assert set(paths) <= allowed(folder)


def test_locks_are_looked_at_from_outside(folder: Path) -> None:
    """A link or a pipe that is called a lock counts as one; nobody follows it or waits for it."""
    write_vmx(folder / "vm.vmx", "vm", DISK)
    write_flat(folder, "disk", bytes(1 << 20))
    source = open_source(spec(folder))
    assert source.power_state("vm.vmx") is PowerState.OFF
    for make in (os.mkfifo, lambda path: path.symlink_to(folder.parent)):
        lock = folder / "disk.vmdk.lck"
        make(lock)
        with opened() as paths:
            assert source.power_state("vm.vmx") is PowerState.ON
        assert set(paths) <= allowed(folder)
        lock.unlink()
