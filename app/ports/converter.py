"""Who changes a guest so that it runs on KVM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from app.domain.models import VM, Check, GuestReport
from app.ports.source import CancelCheck

NO_KEYS: Mapping[str, str] = {}


class Converter(Protocol):
    name: str

    def check(self) -> list[Check]:
        """The tools it needs, each with its version."""
        ...

    def convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        *,
        keys: Mapping[str, str] = NO_KEYS,
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> GuestReport:
        """Change the guest on `disks`, all qcow2 overlays in the guest's order, together and in place.

        `keys`: of encrypted disks, by device (/dev/sda2, as libguestfs counts), LUKS UUID, or "all" for any other.
        Afterwards the result is looked at: a tool's exit status is not believed.
        Raises UnsupportedGuest (DiskLocked for a key that is missing or wrong), ConversionFailed (with the tool's last
        lines), UnsafeImage, NoSpace.
        """
        ...
