"""What is neither CPU, memory, disk nor card."""

from __future__ import annotations

from typing import Any

from app.domain.conversion import is_windows
from app.domain.hardware.case import Case
from app.domain.hostdevs import parse


def identity(case: Case) -> dict[str, Any]:
    """Its UUID, its name or the one that was asked for, and a line that says whose it is."""
    return {
        "uuid": case.domain_uuid,
        "name": case.move.domain_name,
        "job_id": case.move.job_id,
        "title": _printable(case.vm.name),
        "unconverted": not case.move.converts,
        "accelerator": case.accelerator,
    }


def firmware(case: Case) -> dict[str, Any]:
    """BIOS or UEFI as it was; Secure Boot with UEFI only."""
    return {
        "firmware": case.vm.firmware,
        "secure_boot": case.vm.firmware == "efi" and case.vm.secure_boot,
    }


def tpm(case: Case) -> dict[str, Any]:
    """A new, empty TPM 2.0 where the VM had one and the host can emulate it."""
    return {"tpm": case.vm.tpm and case.has_tpm}


def clock(case: Case) -> dict[str, Any]:
    """Windows counts in local time, all others in UTC."""
    return {"clock": "localtime" if is_windows(case.vm) else "utc"}


def enlightenments(case: Case) -> dict[str, Any]:
    """Windows is told of its hypervisor in Hyper-V's words, where one is: it idles and keeps time better."""
    return {"hyperv": is_windows(case.vm) and case.accelerator == "kvm"}


def host_devices(case: Case) -> dict[str, Any]:
    """Those that the user gives in place of the source host's; a network card among them is a card."""
    cards = {nic.label for nic in case.vm.nics}
    labels = [label for label in case.vm.passthrough if label in case.move.options.hostdevs and label not in cards]
    given = [parse(case.move.options.hostdevs[label]) for label in labels]
    return {"hostdevs": tuple(device for device in given if device is not None)}


def sound(case: Case) -> dict[str, Any]:
    """A sound card where there was one; nobody hears it but through a display that carries sound."""
    return {"sound": case.vm.sound}


def console(case: Case) -> dict[str, Any]:
    return {"serial_log": case.serial_log}


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
