"""The network cards of a running domain: kept apart until its boot check has passed, then put where they belong.

A domain's persistent definition names its real networks all the time. It is started paused, its cards are moved to an
isolated network while nothing has run yet, and only the running domain knows of that: a host that restarts meanwhile
finds it as it shall be.
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt
from defusedxml.ElementTree import fromstring

from app.domain.errors import TargetDenied

NETWORK = "vmferry-isolated"
BRIDGE = "virbr-vmfiso"
# No forward, no address of the host's, no DHCP, no DNS; and guests that are there at the same time do not meet.
_NETWORK_XML = (
    f"<network><name>{NETWORK}</name><bridge name='{BRIDGE}' stp='off' delay='0'/><port isolated='yes'/></network>"
)
LINK_DOWN_SECONDS = 3.0  # long enough for a guest to notice: its DHCP client asks anew


def isolate(connection: Any, domain: Any) -> list[str]:
    """Take the cards of a paused domain off their networks; what is worth telling about how."""
    _require_own_macs(domain)
    why = _make_network(connection)
    told = []
    for card in _cards(domain.XMLDesc()).values():
        if card.get("type") == "hostdev":
            told.append(f"the card {_mac(card)} is a device of the host's: it is not isolated")
            continue
        refused = why or _update(domain, _isolated(card))
        if refused:
            failed = _update(domain, _with_link(card, "down"))
            if failed:
                raise TargetDenied(
                    f"the card {_mac(card)} can neither be put on an isolated network ({refused}) nor be unplugged:"
                    f" {failed}",
                    "To boot it on its real networks at once, ask for the boot network real.",
                )
            told.append(f"the card {_mac(card)} is without a link until the check has passed: {refused}")
    return told


def connect(domain: Any) -> None:
    """Put the cards of a running domain on the networks of its definition, with the link down and up again."""
    live, wanted = _cards(domain.XMLDesc()), _cards(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    moved = [card for mac, card in wanted.items() if mac in live and not _same(live[mac], card)]
    for card in moved:
        _must(domain, _with_link(card, "down"))
    if moved:
        time.sleep(LINK_DOWN_SECONDS)
    for card in moved:
        _must(domain, card)
    live = _cards(domain.XMLDesc())
    for mac, card in wanted.items():
        if mac in live and not _same(live[mac], card):
            raise TargetDenied(f"the card {mac} did not get to its network: libvirt has it on {_place(live[mac])}")


def bridges(domain: Any) -> dict[str, str]:
    """MAC → bridge of the cards of a running domain that are on one."""
    sources = {mac: card.find("source") for mac, card in _cards(domain.XMLDesc()).items()}
    return {mac: source.get("bridge", "") for mac, source in sources.items() if source is not None}


def _make_network(connection: Any) -> str:
    """Make the network unless it is there; why it cannot be had, empty when it can."""
    try:
        network = next((net for net in connection.listAllNetworks() if net.name() == NETWORK), None)
        if network is None:
            network = connection.networkCreateXML(_NETWORK_XML)
        elif not network.isActive():
            network.create()
        root = fromstring(network.XMLDesc())
    except libvirt.libvirtError as error:
        return str(error)
    if root.find("forward") is not None or root.find("ip") is not None:
        return f"the network {NETWORK} is not isolated: it forwards, or has an address"
    return ""


def _require_own_macs(domain: Any) -> None:
    """libvirt finds a card by its MAC: of two that share one, the second would stay where it is."""
    macs = [_mac(card) for card in fromstring(domain.XMLDesc()).findall("devices/interface")]
    if shared := {mac for mac in macs if macs.count(mac) > 1}:
        raise TargetDenied(
            f"several cards have the MAC {', '.join(sorted(shared))}: they cannot be isolated one by one",
            "Give each a MAC of its own on the source, or ask for the boot network real.",
        )


def _cards(xml: str) -> dict[str, Element]:
    return {_mac(card): card for card in fromstring(xml).findall("devices/interface")}


def _mac(card: Element) -> str:
    mac = card.find("mac")
    return "" if mac is None else mac.get("address", "").lower()


def _isolated(card: Element) -> Element:
    moved = deepcopy(card)
    moved.set("type", "network")
    for tag in ("source", "virtualport", "vlan"):
        for child in moved.findall(tag):
            moved.remove(child)
    SubElement(moved, "source", network=NETWORK)
    return moved


def _with_link(card: Element, state: str) -> Element:
    changed = deepcopy(card)
    for link in changed.findall("link"):
        changed.remove(link)
    SubElement(changed, "link", state=state)
    return changed


def _update(domain: Any, card: Element) -> str:
    """Why libvirt does not do it; empty when it did."""
    try:
        domain.updateDeviceFlags(tostring(card, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        return str(error)
    return ""


def _must(domain: Any, card: Element) -> None:
    if refused := _update(domain, card):
        raise TargetDenied(f"the card {_mac(card)} could not be put on {_place(card)}: {refused}")


def _place(card: Element) -> tuple[str, ...]:
    """Its network, bridge or device, and whether its link is up."""
    source, link = card.find("source"), card.find("link")
    names = () if source is None else tuple(source.get(key, "") for key in _keys(card))
    return (card.get("type", ""), *names, "up" if link is None else link.get("state", "up"))


def _keys(card: Element) -> tuple[str, ...]:
    return {"network": ("network", "portgroup"), "bridge": ("bridge",)}.get(card.get("type", ""), ("dev",))


def _same(card: Element, other: Element) -> bool:
    return _place(card) == _place(other)
