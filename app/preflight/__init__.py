"""The rules that a move must pass before anything is touched: one a file, pure, each with its test."""

from __future__ import annotations

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move
from app.preflight import (
    boot_check,
    converter,
    disks,
    domain_exists,
    domain_name,
    encryption,
    fault_tolerance,
    firmware,
    guest_os,
    left_behind,
    networks,
    passthrough,
    pool,
    power_state,
    profile,
    reservations,
    shutdown,
    snapshots,
    source,
    space,
    template,
    windows,
)

RULES = (
    template.check,
    power_state.check,
    shutdown.check,
    disks.check,
    encryption.check,
    fault_tolerance.check,
    passthrough.check,
    left_behind.check,
    snapshots.check,
    source.check,
    domain_name.check,
    domain_exists.check,
    pool.check,
    space.check,
    networks.check,
    profile.check,
    reservations.check,
    converter.check,
    firmware.check,
    guest_os.check,
    windows.check,
    boot_check.check,
)

_ORDER = {"blocker": 0, "warning": 1, "info": 2}


def run(move: Move, facts: TargetFacts) -> list[Concern]:
    """Every rule's findings, blockers first."""
    found = [concern for rule in RULES for concern in rule(move, facts)]
    return sorted(found, key=lambda concern: _ORDER[concern.severity])
