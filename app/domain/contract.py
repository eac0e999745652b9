"""The before/after contract: what a guest was against what it is, field by field, and only what both sides have shown.

What is lost is a change. What is new is one, too, where both sides are complete: the addresses of a card that Tools
told, and the enabled services.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Literal, NamedTuple

from app.domain.models import Concern, GuestFacts
from app.domain.value import Value

GOES = (
    "open-vm-tools.service",
    "vgauth.service",
    "vmtoolsd.service",
    "vmware-tools.service",
    r"run-vmblock\x2dfuse.mount",
)
CONTRACT_CHANGED = "contract_changed"
COMES = ("guestfs-firstboot.service", "qemu-guest-agent.service")


class Finding(Value):
    """One field. None: that side was not read."""

    field: str
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None
    verdict: Literal["same", "changed", "expected", "not_seen"]
    detail: str = ""


class Contract(Value):
    """`verdict`: changed when one field is, not_seen when none could be compared."""

    verdict: Literal["same", "changed", "not_seen"]
    findings: tuple[Finding, ...]

    @property
    def told(self) -> str:
        """In a few words."""
        if self.verdict == "same":
            return "as it was"
        if self.verdict == "changed":
            return "not as it was: " + ", ".join(finding.field for finding in self.changed)
        return "neither its agent nor its serial port says who it is"

    @property
    def awaits_network(self) -> bool:
        """Whether a field was read on both sides, and only what its network gives is missing."""
        return any(f.verdict == "not_seen" and f.before is not None and f.after is not None for f in self.findings)

    @property
    def changed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict == "changed")


def compare(before: GuestFacts, after: GuestFacts, *, isolated: bool = False) -> Contract:
    """`isolated`: nobody gave the guest addresses when `after` was read; those that are not its own may be missing."""
    findings = tuple(_finding(field, before, after, isolated) for field in _RULES)
    verdicts = {finding.verdict for finding in findings}
    verdict: Literal["same", "changed", "not_seen"] = "same"
    if "changed" in verdicts:
        verdict = "changed"
    elif verdicts == {"not_seen"}:
        verdict = "not_seen"
    return Contract(verdict=verdict, findings=findings)


def concern_of(contract: Contract) -> Concern | None:
    """A warning, when the guest is not as it was."""
    if not contract.changed:
        return None
    told = "; ".join(f"{finding.field}: {finding.detail}" for finding in contract.changed)
    return Concern(
        code=CONTRACT_CHANGED,
        severity="warning",
        cause=f"the guest runs, but is not as it was: {told}"[:1000],
        remedy="See the job's contract, and mend it in the guest; or roll the job back.",
    )


def _finding(field: str, before: GuestFacts, after: GuestFacts, isolated: bool) -> Finding:
    old, new = _words(field, before), _words(field, after)
    if old is None or new is None:
        sides = " and ".join(name for name, side in (("before", old), ("after", new)) if side is None)
        return Finding(field=field, before=old, after=new, verdict="not_seen", detail=f"not read {sides} the move")
    lost, come, expected, excused = _RULES[field](before, after, isolated)
    verdict: Literal["same", "changed", "expected", "not_seen"] = "same"
    if lost or come:
        verdict = "changed"
    elif expected:
        verdict = "expected"
    elif old and excused == len(old):
        verdict = "not_seen"
    words = [f"-{word}" for word in lost] + [f"+{word}" for word in come] + list(expected)
    if excused:
        words.append(f"{excused} that the network gave not seen")
    return Finding(field=field, before=old, after=new, verdict=verdict, detail=", ".join(words))


class Changes(NamedTuple):
    """`expected` are words for people, `excused` a number."""

    lost: tuple[str, ...]
    come: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    excused: int = 0


def _words(field: str, facts: GuestFacts) -> tuple[str, ...] | None:
    value = getattr(facts, field)
    if field == "addresses" and value is not None:
        return tuple(sorted(f"{mac} {cidr}".strip() for mac, cidrs in value.items() for cidr in cidrs if _own(cidr)))
    return (value,) if isinstance(value, str) else value


def _hostname(before: GuestFacts, after: GuestFacts, _isolated: bool) -> Changes:
    """Without the domain where one side does not say it; Windows does not care for case."""
    old, new = (str(facts.hostname).lower() for facts in (before, after))
    if ("." in old) != ("." in new):
        old, new = old.partition(".")[0], new.partition(".")[0]
    return Changes(()) if old == new else Changes((str(before.hostname),), (str(after.hostname),))


def _addresses(before: GuestFacts, after: GuestFacts, isolated: bool) -> Changes:
    """By the card's MAC where both sides know it.

    IPv6 only where the guest shows that it reads it. Addresses that IPv6 gives itself come and go: they do not count.
    """
    olds, news = before.addresses or {}, after.addresses or {}
    both = [cidr for cidrs in news.values() for cidr in cidrs]
    with_v6 = any(":" in cidr for cidr in both)
    anonymous = "" in olds or "" in news
    lost, come, excused = [], [], 0
    for mac, cidrs in olds.items():
        now = both if anonymous else news.get(mac, ())
        for cidr in cidrs:
            if not _own(cidr) or cidr in now or (":" in cidr and not with_v6):
                continue
            if (isolated or ":" in cidr) and not _is_static(cidr.partition("/")[0], before):
                excused += 1
            else:
                lost.append(f"{mac} {cidr}".strip())
        if not anonymous:
            come += [f"{mac} {cidr}" for cidr in now if _own(cidr) and cidr not in cidrs and ":" not in cidr]
    return Changes(tuple(lost), tuple(come), excused=excused)


def _of_the_network(field: str) -> Callable[[GuestFacts, GuestFacts, bool], Changes]:
    def rule(before: GuestFacts, after: GuestFacts, isolated: bool) -> Changes:
        missing = sorted(set(getattr(before, field)) - set(getattr(after, field)))
        excused = [word for word in missing if isolated and not _is_static(word.split()[-1], before)]
        return Changes(tuple(word for word in missing if word not in excused), excused=len(excused))

    return rule


def _mounts(before: GuestFacts, after: GuestFacts, _isolated: bool) -> Changes:
    """A running guest mounts more than its table says."""
    return Changes(tuple(sorted(set(before.mounts or ()) - set(after.mounts or ()))))


def _services(before: GuestFacts, after: GuestFacts, _isolated: bool) -> Changes:
    old, new = (frozenset(map(template, facts.services or ())) for facts in (before, after))
    lost, come = old - new, new - old
    return Changes(
        tuple(sorted(lost - {*GOES})),
        tuple(sorted(come - {*COMES})),
        (*(f"{name} went" for name in sorted(lost & {*GOES})), *(f"{name} came" for name in sorted(come & {*COMES}))),
    )


def template(unit: str) -> str:
    """ "getty@.service" of "getty@tty1.service": what systemd lists as enabled."""
    name, at, rest = unit.partition("@")
    return f"{name}@.{rest.rpartition('.')[2]}" if at else unit


def _one(field: str) -> Callable[[GuestFacts, GuestFacts, bool], Changes]:
    def rule(before: GuestFacts, after: GuestFacts, _isolated: bool) -> Changes:
        old, new = getattr(before, field), getattr(after, field)
        return Changes(()) if old == new else Changes((old,), (new,))

    return rule


_RULES: dict[str, Callable[[GuestFacts, GuestFacts, bool], Changes]] = {
    "hostname": _hostname,
    "addresses": _addresses,
    "routes": _of_the_network("routes"),
    "dns": _of_the_network("dns"),
    "mounts": _mounts,
    "services": _services,
    "kernel": _one("kernel"),
    "machine_id": _one("machine_id"),
}


def _own(cidr: str) -> bool:
    """Whether an address says something: every card has a link-local one."""
    try:
        address = ipaddress.ip_interface(cidr).ip
    except ValueError:
        return False
    return not (address.is_link_local or address.is_loopback)


def _is_static(address: str, before: GuestFacts) -> bool:
    return address in (before.static or ())
