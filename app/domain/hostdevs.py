"""Devices of a target's host that a guest gets as its own, in place of those that it had on VMware."""

from __future__ import annotations

import re
from typing import Literal

from app.domain.errors import InvalidRequest
from app.domain.value import Value

NONE = "none"
GRAMMAR = f"0000:3b:00.0 (a PCI device), the UUID of a mediated device, or {NONE} to leave it behind"

_PCI = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class HostDevice(Value):
    """`address`: of PCI, or the UUID of a mediated device, in lower case."""

    kind: Literal["pci", "mdev"]
    address: str


def pci_address(text: str) -> dict[str, str]:
    """ "0000:3b:00.0" in libvirt's words."""
    domain, bus, slot, function = re.split("[:.]", text)
    return {"domain": f"0x{domain}", "bus": f"0x{bus}", "slot": f"0x{slot}", "function": f"0x{function}"}


def parse(text: str) -> HostDevice | None:
    """None for what is left behind. Raises InvalidRequest."""
    value = text.lower()
    if value == NONE:
        return None
    if _PCI.fullmatch(value):
        return HostDevice(kind="pci", address=value)
    if _UUID.fullmatch(value):
        return HostDevice(kind="mdev", address=value)
    raise InvalidRequest(f"{text[:100]!r} is no device of a host", f"Give {GRAMMAR}.")


def parse_card(text: str) -> str:
    """The PCI address of a network card, "" for one that is left behind. Raises InvalidRequest."""
    device = parse(text)
    if device is not None and device.kind == "mdev":
        raise InvalidRequest(
            f"{device.address} is a mediated device, and no network card",
            "Give the PCI address of a virtual function (ls -l /sys/class/net/CARD/device/virtfn*).",
        )
    return device.address if device else ""
