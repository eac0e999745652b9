"""A converter in memory: it notes its calls and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.models import VM, Check, GuestReport
from app.ports.converter import NO_KEYS
from app.ports.source import CancelCheck
from converters.qcow2 import check_plain


@dataclass
class MemoryConverter:
    """calls: (vm id, disks) of each call. `error`, once set, is raised by every call. nics: MAC → name, as reported."""

    os: str = "debian12"
    hostname: str = "guest"
    nics: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Path, ...]]] = field(default_factory=list)
    error: BaseException | None = None
    name: str = "memory"

    def check(self) -> list[Check]:
        return [Check(name="memory", ok=True, detail="always there")]

    def convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        *,
        keys: Mapping[str, str] = NO_KEYS,
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> GuestReport:
        self.calls.append((vm.id, tuple(disks)))
        cancel()
        for disk in disks:
            check_plain(disk, backing=disk.with_name(disk.name.replace(".overlay", "")))
        if self.error is not None:
            raise self.error
        log("nothing to convert in memory")
        return GuestReport(converter=self.name, os=self.os, hostname=self.hostname, nic_names=self.nics)
