"""Which hardware a moved VM gets: RULES is the table, docs/hardware.md its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from app.domain.errors import InvalidRequest
from app.domain.hardware import board, cards, disks, memory, numa, processors
from app.domain.hardware.case import Case
from app.domain.hardware.model import Hardware
from app.domain.host import Host
from app.domain.move import Move

NOT_SEEN = Host()

RULES: tuple[Callable[[Case], dict[str, Any]], ...] = (
    board.identity,
    board.firmware,
    board.tpm,
    processors.processors,
    processors.processor_time,
    memory.memory,
    memory.backing,
    memory.balloon,
    numa.nodes,
    numa.pinning,
    board.clock,
    board.enlightenments,
    disks.disks,
    disks.threads,
    cards.cards,
    disks.drives,
    board.host_devices,
    board.sound,
    board.console,
)


def hardware_for(
    move: Move,
    *,
    disk_paths: Sequence[str],
    domain_uuid: str,
    accelerator: Literal["kvm", "tcg"] = "kvm",
    serial_log: str = "",
    has_tpm: bool = False,
    host: Host = NOT_SEEN,
    taken: frozenset[int] = frozenset(),
) -> Hardware:
    """The domain for a move.

    `disk_paths`: one file of the target's format for each of the VM's disks, in their order. `domain_uuid` is also what
    the guest reads as its SMBIOS UUID. `serial_log`: where its serial port is written, empty for nowhere. `has_tpm`:
    whether the host can emulate a TPM. `host`, and the CPUs of it that other domains are pinned to: what the profile
    latency places it on.
    Raises InvalidRequest when a card's network is not mapped, or the paths do not match the disks.
    """
    if len(disk_paths) != len(move.vm.disks):
        raise InvalidRequest(f"{move.vm.name} has {len(move.vm.disks)} disks, but {len(disk_paths)} files were given")
    case = Case(move, disk_paths, domain_uuid, accelerator, serial_log, has_tpm, host, taken)
    return Hardware(**{name: value for rule in RULES for name, value in rule(case).items()})
