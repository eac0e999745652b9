"""Which hardware a moved VM gets: RULES is the table, docs/hardware.md its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from app.domain.errors import InvalidRequest
from app.domain.hardware import board, cards, disks, memory, processors
from app.domain.hardware.case import Case
from app.domain.hardware.model import Hardware
from app.domain.models import Move

RULES: tuple[Callable[[Case], dict[str, Any]], ...] = (
    board.identity,
    board.firmware,
    board.tpm,
    processors.processors,
    processors.processor_time,
    memory.memory,
    board.clock,
    board.enlightenments,
    disks.disks,
    cards.cards,
    disks.drives,
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
) -> Hardware:
    """The domain for a move.

    `disk_paths`: one file of the target's format for each of the VM's disks, in their order. `domain_uuid` is also what
    the guest reads as its SMBIOS UUID. `serial_log`: where its serial port is written, empty for nowhere. `has_tpm`:
    whether the host can emulate a TPM.
    Raises InvalidRequest when a card's network is not mapped, or the paths do not match the disks.
    """
    if len(disk_paths) != len(move.vm.disks):
        raise InvalidRequest(f"{move.vm.name} has {len(move.vm.disks)} disks, but {len(disk_paths)} files were given")
    case = Case(move, disk_paths, domain_uuid, accelerator, serial_log, has_tpm)
    return Hardware(**{name: value for rule in RULES for name, value in rule(case).items()})
