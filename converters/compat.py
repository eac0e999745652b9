"""For guests that nobody converts: nothing is changed, and the hardware is what every system has drivers for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from app.domain.models import VM, Check, GuestReport
from app.ports.converter import NO_KEYS
from app.ports.source import CancelCheck
from converters import appliance
from converters.accelerator import resolve


class Compat:
    """app/ports/converter.py for disks that stay as they are. What that costs, preflight says."""

    name = "compat"

    def __init__(self, *, accelerator: Literal["auto", "kvm", "tcg"] = "auto") -> None:
        self._accelerator = accelerator

    def check(self) -> list[Check]:
        return [Check(name=self.name, ok=True, detail="it needs nothing")]

    def convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        *,
        keys: Mapping[str, str] = NO_KEYS,
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> GuestReport:
        cancel()
        log(f"the {len(disks)} disks stay as they are")
        before = appliance.look(disks, resolve(self._accelerator), cancel, log, keys=keys)
        return GuestReport(converter=self.name, os=vm.guest_name or vm.guest_id, hostname=vm.hostname, before=before)
