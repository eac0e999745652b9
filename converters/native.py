"""Our own converter, for Linux: one start of the libguestfs appliance, in which little is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from app.domain.models import VM, Check, GuestReport
from app.ports.converter import NO_KEYS
from app.ports.source import CancelCheck
from converters import appliance
from converters.accelerator import resolve


class Native:
    """app/ports/converter.py by converters/linux.py, in a process of its own."""

    name = "native"

    def __init__(self, *, accelerator: Literal["auto", "kvm", "tcg"] = "auto") -> None:
        self._accelerator = accelerator

    def check(self) -> list[Check]:
        ok = find_spec("guestfs") is not None
        remedy = "" if ok else "Install it: apt install python3-guestfs"
        return [Check(name="guestfs", ok=ok, detail="the bindings are here" if ok else "it is missing", remedy=remedy)]

    def convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        *,
        keys: Mapping[str, str] = NO_KEYS,
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> GuestReport:
        log("looking into the guest, and changing what virtio needs")
        return appliance.adapt(
            vm, disks, resolve(self._accelerator), cancel, keys=keys, converter=self.name, native=True
        )
