"""Who a guest is, from the words of VMware's tools, of the QEMU guest agent and of the guest itself. Hostile input."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.domain.models import VM, GuestFacts

REPORT = "VMFERRY-REPORT "
"""A guest may write a line of this and a JSON object to its first serial port: docs/boot-check.md says which."""

_REPORT_LINE = re.compile(rf"^{REPORT}(\{{.*\}})\s*$", re.MULTILINE)
_ROUTE = re.compile(r"^(default|[0-9a-fA-F.:]+(?:/\d{1,3})?) via ([0-9a-fA-F.:]+)")
_MOST = 1000  # words of one field: a hostile guest shall not fill our database
_LONGEST = 255


def merged(*known: GuestFacts | None) -> GuestFacts:
    """Each field as the first has it that has it."""
    values: dict[str, Any] = {}
    for facts in known:
        if facts is not None:
            values = {name: value for name, value in facts if value is not None} | values
    return GuestFacts(**values)


def of_tools(vm: VM) -> GuestFacts:
    """What VMware's tools said while they ran."""
    addresses = {nic.mac.lower(): nic.addresses for nic in vm.nics if nic.addresses}
    return GuestFacts(
        hostname=vm.hostname or None,
        addresses=addresses or None,
        routes=vm.routes or None,
        dns=_servers(vm.dns) or None,
    )


def of_serial(text: str) -> GuestFacts | None:
    """The last whole report in what a guest said on its serial port."""
    for line in reversed(_REPORT_LINE.findall(text)):
        try:
            report = json.loads(line)
        except ValueError:
            continue
        return of_report(report)
    return None


def of_report(report: Mapping[str, Any]) -> GuestFacts:
    """Fields of the wrong type count as not said."""
    macs, addresses = _mapping(report.get("macs")), report.get("addresses")
    cards = {
        mac.lower(): _words(cidrs) for name, cidrs in _mapping(addresses).items() if (mac := _word(macs.get(name)))
    }
    routes, dns = _words(report.get("routes")), _words(report.get("dns"))
    services, mounts = _words(report.get("services")), _words(report.get("mounts"))
    return GuestFacts(
        hostname=_word(report.get("hostname")) or None,
        addresses=cards if macs and isinstance(addresses, dict) else None,
        routes=None if "routes" not in report else _routes(routes),
        dns=None if "dns" not in report or (dns and not _servers(dns)) else _servers(dns),
        mounts=mounts or None,
        services=services or None,
        kernel=_word(report.get("kernel")) or None,
        machine_id=_word(report.get("machine_id")) or None,
    )


def of_agent(answers: Mapping[str, Any]) -> GuestFacts:
    """`answers`: what its commands returned, by their names; those that it does not know are missing."""
    cards = {
        mac.lower(): tuple(
            f"{_word(address.get('ip-address'))}/{address.get('prefix')}"
            for address in _mappings(card.get("ip-addresses"))
            if isinstance(address.get("prefix"), int)
        )
        for card in _mappings(answers.get("guest-network-get-interfaces"))
        if card.get("name") != "lo" and (mac := _word(card.get("hardware-address")))
    }
    mounts = [_word(system.get("mountpoint")) for system in _mappings(answers.get("guest-get-fsinfo"))]
    return GuestFacts(
        hostname=_word(_mapping(answers.get("guest-get-host-name")).get("host-name")) or None,
        addresses=cards or None,
        mounts=_words(mounts) or None,
        kernel=_word(_mapping(answers.get("guest-get-osinfo")).get("kernel-release")) or None,
    )


def _routes(lines: Iterable[str]) -> tuple[str, ...]:
    found = (_ROUTE.match(line) for line in lines)
    return tuple(sorted({f"{match[1]} via {match[2]}" for match in found if match}))


def _servers(lines: Iterable[str]) -> tuple[str, ...]:
    """Of addresses, or of lines of resolv.conf. One on a loopback address is the guest's own, and asks others."""
    words = (line.removeprefix("nameserver ").strip() for line in lines)
    return tuple(sorted({word for word in words if _is_elsewhere(word)}))


def _is_elsewhere(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _word(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) and value.isprintable() else ""


def _words(value: Any) -> tuple[str, ...]:
    """Of a list, or the keys of an object."""
    if not isinstance(value, list | dict):
        return ()
    return tuple(sorted({word for item in list(value)[:_MOST] if (word := _word(item))}))


def _mapping(value: Any) -> Mapping[str, Any]:
    return dict(list(value.items())[:_MOST]) if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value[:_MOST] if isinstance(item, dict)] if isinstance(value, list) else []
