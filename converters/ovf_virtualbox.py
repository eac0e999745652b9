"""What VirtualBox writes into an OVF descriptor beside the standard: the guest's UUID, its MACs, its firmware."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from converters.ovf_xml import child, children, namespace, text

_VBOX = "http://www.virtualbox.org/ovf/machine"
_UUID = re.compile(r"\{([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}")


class Extras(NamedTuple):
    """`macs` of the enabled cards, in their order."""

    uuid: str = ""
    os_type: str = ""
    efi: bool = False
    macs: Sequence[str] = ()


def read_extras(system: Element) -> Extras:
    """All empty for a system that VirtualBox did not write."""
    os_type = text(child(system, "OperatingSystemSection"), "OSType")
    machine = child(system, "Machine")
    if machine is None or namespace(machine) != _VBOX:
        return Extras(os_type=os_type)
    hardware = child(machine, "Hardware")
    network, firmware = child(hardware, "Network"), child(hardware, "Firmware")
    cards = [] if network is None else list(children(network, "Adapter"))
    enabled = [card for card in cards if card.get("enabled") == "true"]
    match = _UUID.fullmatch(machine.get("uuid", "").lower())
    return Extras(
        uuid=match[1] if match and set(match[1]) != {"0", "-"} else "",
        os_type=os_type or machine.get("OSType", ""),
        efi=firmware is not None and firmware.get("type", "").upper().startswith("EFI"),
        macs=[card.get("MACAddress", "") for card in sorted(enabled, key=_slot)],
    )


def _slot(card: Element) -> int:
    slot = card.get("slot", "")
    return int(slot) if slot.isascii() and slot.isdecimal() and len(slot) < 4 else 0
