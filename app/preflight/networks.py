"""Each card must be plugged in somewhere on the target, or the guest would arrive cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from app.domain.errors import InvalidRequest
from app.domain.hostdevs import NONE
from app.domain.models import Concern, Nic, TargetFacts
from app.domain.move import Move
from app.domain.networks import GRAMMAR, TRUNK, Attachment


class Known(NamedTuple):
    """What a target has of the kind that an attachment is."""

    what: str
    remedy: str
    mtus: Mapping[str, int]  # by name; 0 where it is not known


def known(facts: TargetFacts, attachment: Attachment) -> Known:
    host = facts.host
    match attachment.kind:
        case "bridge":
            return Known("Linux bridge", "Make it (ip link add NAME type bridge)", host.bridges)
        case "ovs":
            return Known("bridge of Open vSwitch", "Make it (ovs-vsctl add-br NAME)", host.ovs_bridges)
        case "macvtap":
            return Known("network device", "Look for it with ip link", host.cards)
    return Known("active network", "Start it (virsh net-start)", dict.fromkeys(facts.networks, 0))


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    plugged = [nic for nic in move.vm.nics if move.options.hostdevs.get(nic.label, NONE).lower() == NONE]
    for nic in {nic.network: nic for nic in reversed(plugged)}.values():  # what is told once is enough
        try:
            attachment = move.attachment_for(nic)
        except InvalidRequest as error:
            yield Concern(code="network_invalid", severity="blocker", cause=error.message, remedy=error.remedy)
            continue
        if attachment is None:
            yield _not_mapped(move, facts, nic)
        else:
            yield from _check(move, known(facts, attachment), nic, attachment)


def _not_mapped(move: Move, facts: TargetFacts, nic: Nic) -> Concern:
    there = f"The target has the networks: {', '.join(facts.networks) or 'none'}."
    vlan = f" On VMware it is VLAN {nic.vlan}." if 0 < nic.vlan < TRUNK else ""
    return Concern(
        code="network_not_mapped",
        severity="blocker",
        cause=f"no network on {move.target.name} is given for {nic.network!r} ({nic.label})",
        remedy=f"Map it on the target or for this job, to the {GRAMMAR}. {there}{vlan}",
    )


def _check(move: Move, there: Known, nic: Nic, attachment: Attachment) -> Iterable[Concern]:
    where, name = f"{nic.label} on {nic.network!r}", attachment.name
    if name not in there.mtus:
        yield Concern(
            code="network_missing",
            severity="blocker",
            cause=f"{move.target.name} has no {there.what} {name} for {where}",
            remedy=f"{there.remedy}, or map to one that is there: {', '.join(there.mtus) or 'none'}.",
        )
        return
    if attachment.kind == "ovs" and 0 < nic.vlan < TRUNK and attachment.vlan != nic.vlan:
        tag = "no tag" if attachment.vlan is None else f"the tag {attachment.vlan}"
        yield Concern(
            code="network_vlan_differs",
            severity="warning",
            cause=f"{where} is on VLAN {nic.vlan}, and gets {tag} on the bridge {name} of Open vSwitch",
            remedy=f"Unless that is meant, map it to ovs:{name}@{nic.vlan}.",
        )
    mtu = there.mtus[name]
    if mtu and mtu < nic.mtu:
        yield Concern(
            code="network_mtu_smaller",
            severity="warning",
            cause=f"the switch of {where} takes packets of {nic.mtu} bytes, {name} on {move.target.name} of {mtu}",
            remedy=f"If the guest sends such packets, raise it first: ip link set {name} mtu {nic.mtu}.",
        )
