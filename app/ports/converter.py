"""Who changes a guest so that it runs on KVM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from app.domain.models import VM, Check, GuestReport
from app.ports.source import CancelCheck


class Converter(Protocol):
    name: str

    def check(self) -> list[Check]:
        """The tools it needs, each with its version."""
        ...

    def convert(self, vm: VM, disks: Sequence[Path], *, cancel: CancelCheck, log: Callable[[str], None]) -> GuestReport:
        """Change the guest on `disks`, all qcow2 overlays in the guest's order, together and in place.

        Afterwards the result is looked at: a tool's exit status is not believed.
        Raises UnsupportedGuest, ConversionFailed (with the tool's last lines), UnsafeImage, NoSpace.
        """
        ...
