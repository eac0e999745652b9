"""A VM and its move, to vary in tests."""

from __future__ import annotations

from typing import Any

from app.domain.models import VM, Disk, ImageOptions, Nic, TargetSpec
from app.domain.move import Move, MoveOptions

UUID = "42106f2c-9a1b-4c37-8f5e-0123456789ab"


def make_vm(**changes: Any) -> VM:
    fields: dict[str, Any] = {
        "id": "vm-42",
        "name": "web01",
        "uuid": UUID,
        "power_state": "on",
        "cpus": 4,
        "cores_per_socket": 2,
        "memory_bytes": 2 << 30,
        "guest_id": "debian12_64Guest",
        "disks": (
            Disk(key=2000, label="Hard disk 1", capacity_bytes=2 << 30),
            Disk(key=2001, label="Hard disk 2", capacity_bytes=1 << 30),
        ),
        "nics": (
            Nic(key=4000, label="Network adapter 1", mac="00:50:56:8A:50:10", network="VM Network", slot=192),
            Nic(key=4001, label="Network adapter 2", mac="00:50:56:8a:50:11", network="Backup", connected=False),
        ),
    }
    return VM.model_validate(fields | changes)


def make_move(vm: VM | None = None, image: ImageOptions | None = None, **options: Any) -> Move:
    networks = {"VM Network": "lan", "*": "other"}
    target = TargetSpec(id="t1", name="kvm1", image=image or ImageOptions(), networks=networks)
    return Move.of("j1", vm or make_vm(), target, MoveOptions(**options))
