"""What a Linux guest's configuration says that it is: addresses, routes, DNS, mounts, services. Pure; hostile input.

As with names of cards, no format's grammar is parsed in full: what is found are the words in the places that ifupdown,
netplan, NetworkManager, systemd-networkd and ifcfg have for them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

NOT_OF_DISKS = ("swap", "none", "proc", "sysfs", "tmpfs", "devpts", "nfs", "nfs4", "cifs", "smb3")

_COMMENT = re.compile(r"^\s*[#;].*$", re.MULTILINE)
_IP = r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})"
_LITERAL = re.compile(rf"(?<![\w.:/]){_IP}(?![\w.:])")
_CIDR = re.compile(rf"(?<![\w.:/])({_IP})/(\d{{1,3}})(?![\w./])")
_BARE = re.compile(rf"^\s*(?:IPADDR\d*=|address\s)[\s\"']*({_IP})[\"']?\s*$", re.MULTILINE)
_MASK = re.compile(r"^\s*(?:NETMASK\d*=|PREFIX\d*=|netmask\s)[\s\"']*([\d.]+)[\"']?\s*$", re.MULTILINE)
_GATEWAY = re.compile(rf"^\s*(?:gateway[46]?|GATEWAY\d*|Gateway)\s*[:=]?[\s\"']*({_IP})[\"']?\s*$", re.MULTILINE)
_FIRST_GATEWAY = re.compile(rf"^\s*address\d+\s*=\s*{_IP}/\d+,({_IP})", re.MULTILINE)  # NetworkManager
_NETPLAN_ROUTE = re.compile(rf"to:[\s\"']*(default|{_IP}/\d+)[\"']?\s*\n\s*via:[\s\"']*({_IP})")
_KEYFILE_ROUTE = re.compile(rf"^\s*route\d+\s*=\s*({_IP}/\d+),({_IP})", re.MULTILINE)
_NETWORKD_ROUTE = re.compile(r"^\[Route\]\s*$(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
_DESTINATION = re.compile(rf"^\s*Destination\s*=\s*({_IP}/\d+)", re.MULTILINE)
_DNS_LINE = re.compile(r"^\s*(?:dns-nameservers?|DNS\d*|dns)\b\s*[:=]?(.*)$", re.MULTILINE)
_NETPLAN_DNS = re.compile(r"nameservers:\s*\n(?:\s+search:.*\n)?\s+addresses:((?:\s*-?\s*[\[\"'\w.:, \]]+\n?)+)")
_RESOLVER = re.compile(rf"^\s*nameserver\s+({_IP})", re.MULTILINE)
_DHCP = re.compile(r"dhcp(?!-)|DHCP=[\"']?(?:yes|true|ipv4)|method=auto", re.IGNORECASE)
_OFF = re.compile(r"dhcp[46]?:\s*(?:no|false)|DHCP=\s*(?:no|false)", re.IGNORECASE)


class Network(NamedTuple):
    """`static`: every address that is written there. The others as GuestFacts has them."""

    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    dns: tuple[str, ...]
    static: tuple[str, ...]


def network(files: Mapping[str, str], resolv_conf: str | None) -> Network:
    """`files`: path → text of the network's configuration. `resolv_conf`: None where it is made at run time."""
    texts = [_COMMENT.sub("", text) for text in files.values()]
    whole = "\n".join(texts)
    written = {address for address in _LITERAL.findall(whole) if _valid(address)}
    if resolv_conf is None:
        dns = {address for text in texts for address in _configured_dns(text)}
    else:
        dns = set(_RESOLVER.findall(resolv_conf))
        if not _DHCP.search(_OFF.sub("", whole)):  # else a DHCP client may have written that file
            written |= dns
    return Network(
        addresses=tuple(sorted({cidr for text in texts for cidr in _addresses(text)})),
        routes=tuple(sorted({route for text in texts for route in _routes(text) if _valid(route.split()[-1])})),
        dns=tuple(sorted(address for address in dns if _valid(address) and not address.startswith("127."))),
        static=tuple(sorted(written)),
    )


def mounts(fstab: str) -> tuple[str, ...]:
    """The mount points of disks that are mounted at boot."""
    found = set()
    for line in _COMMENT.sub("", fstab).splitlines():
        words = line.split()
        if len(words) < 4 or not words[1].startswith("/") or words[2] in NOT_OF_DISKS:
            continue
        options = words[3].split(",")
        if not {"noauto", "bind", "rbind", "_netdev", "x-systemd.automount"}.intersection(options):
            found.add(words[1].replace("\\040", " ").rstrip("/") or "/")
    return tuple(sorted(found))


def services(wanted: Iterable[str], links: Mapping[str, str]) -> tuple[str, ...]:
    """Enabled units: `wanted`: those that a .wants or .requires folder names; `links`: other links → their targets."""
    aliased = (target.rpartition("/")[2] for name, target in links.items() if name != "default.target")
    names = {*wanted, *(name for name in aliased if "." in name)}
    return tuple(sorted(names))


def _addresses(text: str) -> set[str]:
    """With prefix. An address whose host part is empty is a network's, as in a route."""
    found = set()
    pairs = [*_CIDR.findall(text), *zip(_BARE.findall(text), _MASK.findall(text), strict=False)]
    for address, prefix in pairs:
        try:
            interface = ipaddress.ip_interface(f"{address}/{prefix}")
        except ValueError:
            continue
        alone = interface.network.prefixlen == interface.max_prefixlen
        if (alone or interface.ip != interface.network.network_address) and not interface.ip.is_loopback:
            found.add(str(interface))
    return found


def _routes(text: str) -> set[str]:
    found = {f"{to} via {gateway}" for to, gateway in _NETPLAN_ROUTE.findall(text) + _KEYFILE_ROUTE.findall(text)}
    for section in _NETWORKD_ROUTE.findall(text):
        gateway, to = _GATEWAY.search(section), _DESTINATION.search(section)
        if gateway:
            found.add(f"{to[1] if to else 'default'} via {gateway[1]}")
    rest = _NETWORKD_ROUTE.sub("", text)
    found |= {f"default via {gateway}" for gateway in _GATEWAY.findall(rest) + _FIRST_GATEWAY.findall(rest)}
    return found


def _configured_dns(text: str) -> set[str]:
    said = [*_DNS_LINE.findall(text), *_NETPLAN_DNS.findall(text)]
    return {address for words in said for address in _LITERAL.findall(words)}


def _valid(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
