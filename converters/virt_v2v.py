"""virt-v2v-in-place: the converter that changes a guest on overlays of its verified copy."""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from app.domain.conversion import is_windows, parse_version
from app.domain.errors import ToolFailed, ToolMissing
from app.domain.hardware.case import MOST_VIRTIO_BLK
from app.domain.hardware.disks import device_name
from app.domain.models import VM, Check, Concern, GuestReport
from app.domain.windows import BLOCK_DRIVER_SINCE
from app.ports.converter import NO_KEYS
from app.ports.source import CancelCheck
from app.process import run, secret_file
from converters import appliance, luks
from converters.accelerator import resolve
from converters.tools import version
from converters.v2v_messages import Messages, failure

TOOL = "virt-v2v-in-place"
MOST_QUESTIONS = 256  # encrypted devices of one guest


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

    def convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        *,
        keys: Mapping[str, str] = NO_KEYS,
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> GuestReport:
        accelerator, number = resolve(self._accelerator), version(self._tool)
        before = appliance.look(disks, accelerator, cancel, log, keys=keys)
        concerns = self._convert(vm, disks, keys, appliance.environment(accelerator), number, cancel, log)
        log("looking at the converted guest")
        name = f"{self.name} {number}".strip()
        report = appliance.adapt(vm, disks, accelerator, cancel, keys=keys, converter=name)
        return report.model_copy(update={"concerns": (*concerns, *report.concerns), "before": before})

    def _convert(
        self,
        vm: VM,
        disks: Sequence[Path],
        keys: Mapping[str, str],
        env: dict[str, str],
        number: str,
        cancel: CancelCheck,
        log: Callable[[str], None],
    ) -> list[Concern]:
        messages = Messages(log)
        if self._virtio_win:
            env = {**env, "VIRTIO_WIN": str(self._virtio_win)}
        with tempfile.TemporaryDirectory(prefix="vmferry-convert-") as folder, ExitStack() as files:
            xml = Path(folder, "guest.xml")
            xml.write_text(guest_xml(vm, disks))
            key_files = {
                device: files.enter_context(secret_file(f"{key}\n"))
                for device, key in keys.items()
                if device != luks.ANY
            }
            try:
                run(
                    [self._tool, *arguments(vm, xml, number, key_files)],
                    stdin=answers(keys),
                    env=env,
                    cancel=cancel,
                    on_line=messages.line,
                    timeout=self._timeout_s,
                    contained=True,
                )
            except ToolMissing:
                raise
            except ToolFailed as error:
                raise failure(messages.errors, error.fields.get("stderr_tail") or "") from error
        return messages.concerns


def arguments(vm: VM, xml: Path, number: str, key_files: Mapping[str, Path]) -> list[str]:
    """Those of virt-v2v of this version, "2.2.0": all since 2.0 convert in place and write JSON a line.

    It would ask which of two systems to take, and for keys: the first has no answer here, the second is on its stdin.
    """
    words = ["--machine-readable", "--root", "single", "--keys-from-stdin"]
    words += [f"--key={device}:file:{path}" for device, path in key_files.items()]
    if is_windows(vm):
        words += static_addresses(vm)
        if len(vm.disks) > MOST_VIRTIO_BLK and parse_version(number) >= BLOCK_DRIVER_SINCE:
            words.append("--block-driver=virtio-scsi")
    return [*words, "-i", "libvirtxml", str(xml)]


def static_addresses(vm: VM) -> list[str]:
    """Windows keeps its addresses with its network cards, and gets others: virt-v2v sets them at the first boot.

    It takes one of IPv4 for a card. What the guest's tools say is not trusted to be addresses.
    """
    gateways = _ipv4(route.removeprefix("default via ") for route in vm.routes)
    servers = [str(server.ip) for server in _ipv4(vm.dns)]
    words = []
    for nic in vm.nics:
        for address in _ipv4(nic.static)[:1]:
            gateway = next((str(each.ip) for each in gateways if each.ip in address.network), "")
            told = [str(address.ip), gateway, str(address.network.prefixlen), *servers]
            words.append(f"--mac={nic.mac}:ip:{','.join(told)}")
    return words


def _ipv4(texts: Iterable[str]) -> list[ipaddress.IPv4Interface]:
    found = []
    for text in texts:
        with suppress(ValueError):
            found.append(ipaddress.IPv4Interface(text))
    return found


def answers(keys: Mapping[str, str]) -> bytes | None:
    """What it reads when it asks for the key of a disk that has none of its own.

    Since 2.4 there would be `--key all:file:…`; this works with every version.
    """
    key = keys.get(luks.ANY)
    return f"{key}\n".encode() * MOST_QUESTIONS if key else None


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
