"""Where a card is plugged in on a target's host, and how much may go through it."""

from __future__ import annotations

import re
from typing import Literal, get_args

from app.domain.errors import InvalidRequest
from app.domain.value import Value

GRAMMAR = "NAME of a libvirt network, bridge:NAME, ovs:NAME, ovs:NAME@VLAN or macvtap:DEVICE"
LAST_VLAN = 4094
TRUNK = 4095  # as VMware says that a port carries all VLANs

Plugged = Literal["network", "bridge", "ovs", "macvtap"]

_DEVICE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}")  # what Linux takes, and no option
_VLAN = re.compile(r"[1-9][0-9]{0,3}")
_MOST_NAME = 200


class Attachment(Value):
    """By `parse`; a hostdev is no plug, but the card itself, by its PCI address."""

    kind: Plugged | Literal["hostdev"]
    name: str
    vlan: int | None = None  # the tag that what the guest sends gets

    def __str__(self) -> str:
        prefix = "" if self.kind == "network" else f"{self.kind}:"
        return prefix + self.name + ("" if self.vlan is None else f"@{self.vlan}")


class Bandwidth(Value):
    """Bytes a second, and the bytes of a burst; 0 for what is not said."""

    average: int
    peak: int = 0
    burst: int = 0


def parse(text: str) -> Attachment:
    """Raises InvalidRequest."""
    prefix, colon, rest = text.partition(":")
    if not colon or prefix not in get_args(Plugged):
        if not 0 < len(text) <= _MOST_NAME or not text.isprintable() or "/" in text or text.startswith("-"):
            raise _refuse(text, "that is no name of a network")
        return Attachment(kind="network", name=text)
    name, at, vlan = rest.partition("@")
    if prefix == "network" or not _DEVICE.fullmatch(name):
        raise _refuse(text, "that is no name of a network device")
    if at and prefix != "ovs":
        raise _refuse(text, "only Open vSwitch gives a tag to a port; otherwise name the VLAN's own bridge or device")
    if at and not (_VLAN.fullmatch(vlan) and int(vlan) <= LAST_VLAN):
        raise _refuse(text, f"a VLAN is a number from 1 to {LAST_VLAN}")
    return Attachment.model_validate({"kind": prefix, "name": name, "vlan": int(vlan) if at else None})


def _refuse(text: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"a card cannot be plugged into {text[:_MOST_NAME]!r}: {why}", f"Give the {GRAMMAR}.")
