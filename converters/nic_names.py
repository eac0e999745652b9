"""Which name each network card of a guest had on VMware, from the guest's own configuration. Pure; hostile input.

Names are not parsed out of every format's grammar: a name that a configuration file mentions outside its comments is
one that something relies on. On VMware, udev names a card ens<slot>.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CONFIGURATION = (
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/netplan/*.yaml",
    "/etc/NetworkManager/system-connections/*",
    "/etc/systemd/network/*.network",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network/ifcfg-*",
)
NAMED_BY_MAC = ("/etc/udev/rules.d/70-persistent-net.rules", "/etc/systemd/network/*.link")

_NAME = re.compile(r"(?<![\w-])(?:ens\d{1,9}|eno\d{1,9}|enp\d{1,3}s\d{1,3}(?:f\d)?|eth\d{1,3})(?![\w-])")
_COMMENT = re.compile(r"^\s*[#;].*$", re.MULTILINE)
_RULE = re.compile(r'^[^#\n]*ATTRS?\{address\}=="([0-9a-fA-F:]{17})"[^\n]*NAME="([\w.-]{1,15})"', re.MULTILINE)
_LINK_MAC = re.compile(r"^\s*MACAddress\s*=\s*([0-9a-fA-F:]{17})\s*$", re.MULTILINE)
_LINK_NAME = re.compile(r"^\s*Name\s*=\s*([\w.-]{1,15})\s*$", re.MULTILINE)


class Card(NamedTuple):
    """mac: lower case. slot: VMware's pciSlotNumber, where known."""

    mac: str
    slot: int | None


class Names(NamedTuple):
    """MAC → name: `kept` by the guest itself, `lost` unless it is written down; `unknown`: MACs without a name."""

    kept: dict[str, str]
    lost: dict[str, str]
    unknown: list[str]


def names_of(cards: Sequence[Card], files: Mapping[str, str], kernel_arguments: str) -> Names:
    """Match the cards with the names that `files` (path → text) mention."""
    mentioned = _mentioned(files)
    kept = {mac: name for mac, name in _named_by_mac(files).items() if any(card.mac == mac for card in cards)}
    cards = [card for card in cards if card.mac not in kept]
    predictable = {name for name in mentioned if not name.startswith("eth")}
    if "net.ifnames=0" in kernel_arguments.split() or (mentioned and not predictable):
        return Names(kept, {}, [])  # the kernel's eth0, eth1, … go by the order of the cards, which stays
    lost = {card.mac: f"ens{card.slot}" for card in cards if f"ens{card.slot}" in predictable}
    cards = [card for card in cards if card.mac not in lost]
    left = sorted(predictable - set(lost.values()) - set(kept.values()))
    if len(cards) == 1 and len(left) == 1:
        return Names(kept, {**lost, cards[0].mac: left[0]}, [])
    if not left:
        lost |= {card.mac: f"ens{card.slot}" for card in cards if card.slot is not None}
    return Names(kept, lost, [card.mac for card in cards if card.mac not in lost])


def link_file(mac: str, name: str) -> tuple[str, str]:
    """(path, text) of what makes systemd's udev give the card this name."""
    text = (
        "# Written by vmferry: the name that this card had on VMware.\n"
        "[Match]\n"
        f"MACAddress={mac}\n"
        "# VLANs, bonds and bridges on the card have its MAC too, and must keep their own names.\n"
        "Driver=virtio_net\n"
        "\n"
        "[Link]\n"
        f"Name={name}\n"
    )
    return f"/etc/systemd/network/10-vmferry-{name}.link", text


def _mentioned(files: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for path, text in files.items():
        if path.endswith((".link", ".rules")):
            continue
        found.update(_NAME.findall(_COMMENT.sub("", text)))
        if "/ifcfg-" in path:
            found.update(_NAME.findall(path.rpartition("/ifcfg-")[2]))
    return found


def _named_by_mac(files: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, text in files.items():
        if path.endswith(".rules"):
            found |= {mac.lower(): name for mac, name in _RULE.findall(text)}
        elif path.endswith(".link"):
            mac, name = _LINK_MAC.search(text), _LINK_NAME.search(text)
            if mac and name:
                found[mac[1].lower()] = name[1]
    return found
