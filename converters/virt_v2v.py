"""virt-v2v-in-place: the converter that changes a guest on overlays of its verified copy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from app.domain.errors import ToolFailed, ToolMissing
from app.domain.hardware.disks import device_name
from app.domain.models import VM, Check, Concern, GuestReport
from app.ports.source import CancelCheck
from app.process import run
from converters import appliance
from converters.accelerator import resolve
from converters.tools import version
from converters.v2v_messages import Messages, failure

TOOL = "virt-v2v-in-place"


class VirtV2vInPlace:
    """app/ports/converter.py by virt-v2v, and then a look at what it left (converters/offline.py)."""

    name = "virt-v2v"

    def __init__(
        self,
        tool: str = TOOL,
        *,
        accelerator: Literal["auto", "kvm", "tcg"] = "auto",
        virtio_win: Path | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """No time limit by default: a healthy conversion of large disks takes hours, and a user can cancel."""
        self._tool = tool
        self._accelerator = accelerator
        self._virtio_win = virtio_win
        self._timeout_s = timeout_s

    def check(self) -> list[Check]:
        found = version(self._tool)
        remedy = "" if found else "Install it: apt install virt-v2v"
        return [Check(name=TOOL, ok=bool(found), detail=found or "it is missing, or does not run", remedy=remedy)]

    def convert(self, vm: VM, disks: Sequence[Path], *, cancel: CancelCheck, log: Callable[[str], None]) -> GuestReport:
        accelerator = resolve(self._accelerator)
        before = appliance.look(disks, accelerator, cancel, log)
        concerns = self._convert(vm, disks, appliance.environment(accelerator), cancel, log)
        log("looking at the converted guest")
        report = appliance.adapt(vm, disks, accelerator, cancel, converter=f"{self.name} {version(self._tool)}".strip())
        return report.model_copy(update={"concerns": (*concerns, *report.concerns), "before": before})

    def _convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        env: dict[str, str],
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> list[Concern]:
        messages = Messages(log)
        if self._virtio_win:
            env = {**env, "VIRTIO_WIN": str(self._virtio_win)}
        with tempfile.TemporaryDirectory(prefix="vmferry-convert-") as folder:
            xml = Path(folder, "guest.xml")
            xml.write_text(guest_xml(vm, disks))
            argv = [self._tool, "--machine-readable", "-i", "libvirtxml", str(xml)]
            try:
                run(argv, env=env, cancel=cancel, on_line=messages.line, timeout=self._timeout_s, contained=True)
            except ToolMissing:
                raise
            except ToolFailed as error:
                raise failure(messages.errors, error.fields.get("stderr_tail") or "") from error
        return messages.concerns


def guest_xml(vm: VM, disks: Sequence[Path]) -> str:
    """What virt-v2v has to know: a fixed name, the firmware, and the disks in order, as qcow2 and nothing else."""
    domain = Element("domain", type="vmware")
    SubElement(domain, "name").text = "guest"
    SubElement(domain, "memory", unit="KiB").text = str(vm.memory_bytes // 1024)
    SubElement(domain, "vcpu").text = str(vm.cpus)
    os = SubElement(domain, "os")
    SubElement(os, "type", arch="x86_64").text = "hvm"
    if vm.firmware == "efi":
        os.set("firmware", "efi")
    devices = SubElement(domain, "devices")
    for index, path in enumerate(disks):
        disk = SubElement(devices, "disk", type="file", device="disk")
        SubElement(disk, "driver", name="qemu", type="qcow2")
        SubElement(disk, "source", file=str(path.absolute()))
        SubElement(disk, "target", dev=device_name("sd", index), bus="scsi")
    return tostring(domain, encoding="unicode")
