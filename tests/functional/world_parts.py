"""What a made-up world is made of: VMs, pools, steps that were gone through, pictures of a console."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from app.domain.host import Host
from app.domain.models import VM, Disk, DiskProgress, Domain, Nic, Pool, PowerState, Progress, StepRecord, TargetFacts

GIB = 1 << 30
NETWORKS = ("VM Network", "DMZ")
_TOOK = {
    "preflight": 4,
    "shutdown": 38,
    "transfer": 640,
    "verify_copy": 210,
    "convert": 95,
    "define": 2,
    "boot_check": 71,
    "finalise": 3,
}
_SAID = {
    "preflight": "2 concerns, no blocker",
    "shutdown": "the guest shut itself down",
    "transfer": "2 disks, 31.4 GiB in 640 s",
    "verify_copy": "31.4 GiB read back, 32154 extents are the same",
    "convert": "virt-v2v 2.2.0: virtio for disks and network",
    "define": "domain defined",
    "boot_check": "up after 71 s, seen by its agent",
    "finalise": "annotated where it went",
}
ROLES = ("web", "app", "db", "cache", "mail", "files", "jump", "ci")


def vm(number: int) -> VM:
    role = ROLES[(number - 1) % len(ROLES)]
    size = (8, 20, 40, 16)[number % 4] * GIB
    disks = [
        Disk(
            key=2000,
            label="Hard disk 1",
            capacity_bytes=size,
            controller="pvscsi",
            path=f"[ds-fra-{number % 3 + 1}] {role}{number:02}/{role}{number:02}.vmdk",
        )
    ]
    if role == "db":
        disks.append(
            Disk(
                key=2001,
                label="Hard disk 2",
                capacity_bytes=3 * size,
                controller="pvscsi",
                path=f"[ds-fra-2] {role}{number:02}/data.vmdk",
            )
        )
    return VM(
        id=f"vm-{1000 + number}",
        name=f"{role}{number:02}",
        uuid=f"4200c1d2-0000-4000-8000-{number:012x}",
        power_state=PowerState.OFF if number % 9 == 0 else PowerState.ON,
        cpus=(2, 4, 8)[number % 3],
        memory_bytes=(2, 4, 8, 16)[number % 4] * GIB,
        guest_id="windows2019srv_64Guest" if role == "mail" else "debian12_64Guest",
        guest_name="Microsoft Windows Server 2019" if role == "mail" else "Debian GNU/Linux 12 (64-bit)",
        hostname=f"{role}{number:02}.fra.example",
        tools="not_running" if number % 9 == 0 else "running",
        snapshots=("before update",) if number % 7 == 0 else (),
        firmware="efi" if role == "mail" else "bios",
        disks=tuple(disks),
        nics=(
            Nic(
                key=4000,
                label="Network adapter 1",
                mac=f"00:50:56:00:{number // 256:02x}:{number % 256:02x}",
                network=NETWORKS[number % 2],
                adapter="vmxnet3",
                slot=192,
                addresses=(f"10.20.{number // 250}.{number % 250 + 1}/24",),
            ),
        ),
        host=f"esx{number % 4 + 1:02}.fra.example",
        cluster="FRA-Prod",
        datacenter="Frankfurt",
        folder=f"Production/{role}",
    )


def pool(name: str, capacity: int, free: int) -> Pool:
    return Pool(
        name=name,
        type="dir",
        path=f"/var/lib/libvirt/{name}",
        active=True,
        capacity_bytes=capacity * GIB,
        free_bytes=free * GIB,
    )


def facts(**changes: Any) -> TargetFacts:
    fields: dict[str, Any] = {
        "hypervisor": "QEMU 7.2.0, libvirt 9.0.0",
        "accelerator": "kvm",
        "pools": (pool("default", 2048, 1127), pool("ssd", 512, 93)),
        "networks": ("default", "lab"),
        "host": Host(bridges={"br-dmz": 1500}, ovs_bridges={"br0": 9000}),
        "domains": (Domain(uuid="4200c1d2-1111-4000-8000-000000000001", name="taken"),),
        "tools": {"virt-v2v-in-place": "2.2.0", "qemu-img": "7.2.0"},
    }
    return TargetFacts.model_validate(fields | changes)


def stepped(
    steps: Sequence[StepRecord], at: datetime, done: str, *, under_way: bool
) -> tuple[tuple[StepRecord, ...], datetime]:
    """The steps up to `done` have ended one after the other; with `under_way` the next one runs. And when that was."""
    made: list[StepRecord] = []
    over = not done
    for step in steps:
        if not over:
            ended = at + timedelta(seconds=_TOOK[step.name])
            made.append(
                StepRecord(
                    name=step.name,
                    state="succeeded",
                    attempts=1,
                    started_at=at,
                    ended_at=ended,
                    detail=_SAID[step.name],
                )
            )
            at, over = ended, step.name == done
        elif under_way:
            made.append(StepRecord(name=step.name, state="running", attempts=1, started_at=at))
            under_way = False
        else:
            made.append(step)
    return tuple(made), at


def copied(guest: VM, part: float) -> tuple[DiskProgress, ...]:
    """A part of each disk, of which five eighths were written."""
    made = []
    for disk in guest.disks:
        through = int(disk.capacity_bytes * part)
        done = through * 5 // 8
        made.append(
            DiskProgress(
                key=disk.key,
                label=disk.label,
                capacity_bytes=disk.capacity_bytes,
                bytes_done=done,
                bytes_skipped=through - done,
                wire_bytes=through // 2,
                verified_bytes=disk.capacity_bytes if part == 1 else 0,
            )
        )
    return tuple(made)


def totals(disks: Sequence[DiskProgress], rate: float | None) -> Progress:
    total, done, skipped = (
        sum(getattr(disk, name) for disk in disks) for name in ("capacity_bytes", "bytes_done", "bytes_skipped")
    )
    return Progress(
        bytes_done=done,
        bytes_total=total,
        bytes_skipped=skipped,
        rate=rate,
        eta_s=(total - done - skipped) / rate if rate else None,
    )


def console(place: int) -> bytes:
    """A PNG that looks like a text console from afar: rows of grey on black."""
    width, height = 640, 480
    lines = []
    for y in range(height):
        text = y % 16 in range(4, 12) and y // 16 < 6 + place * 10
        length = 40 + (y // 16 * 7919 + place * 31) % 420
        lines.append(
            b"\x00"
            + b"".join(
                b"\xb0" if text and 8 <= x < length and x % 9 < 6 and (x // 9 + y // 16) % 6 else b"\x00"
                for x in range(width)
            )
        )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + chunk(b"IEND", b"")
    )
