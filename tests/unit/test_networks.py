"""Where a card is plugged in: what the map of networks may say, and what it may not."""

from __future__ import annotations

import pytest

from app.domain.errors import InvalidRequest
from app.domain.networks import Attachment, parse


@pytest.mark.parametrize(
    ("text", "kind", "name", "vlan"),
    [
        ("lan", "network", "lan", None),
        ("Prod net (10)", "network", "Prod net (10)", None),
        ("10:20", "network", "10:20", None),
        ("bridge:br0", "bridge", "br0", None),
        ("bridge:br0.100", "bridge", "br0.100", None),
        ("ovs:br-int", "ovs", "br-int", None),
        ("ovs:br-int@1", "ovs", "br-int", 1),
        ("ovs:br-int@4094", "ovs", "br-int", 4094),
        ("macvtap:enp3s0f1", "macvtap", "enp3s0f1", None),
    ],
)
def test_what_a_map_may_say(text: str, kind: str, name: str, vlan: int | None) -> None:
    assert parse(text) == Attachment.model_validate({"kind": kind, "name": name, "vlan": vlan})
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-rf",
        "a/b",
        "a\nb",
        "x" * 201,
        "network:lan",
        "bridge:",
        "bridge:-x",
        "bridge:..",
        "bridge:.",
        "bridge:a b",
        "bridge:$(id)",
        "bridge:sixteen-letters-",
        "bridge:br0@3",
        "macvtap:eth0@3",
        "macvtap:eth/0",
        "ovs:br0@",
        "ovs:br0@0",
        "ovs:br0@4095",
        "ovs:br0@01",
        "ovs:br0@²",
        "ovs:br0@3@4",
        "ovs:br0 @3",
    ],
)
def test_what_it_may_not(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert "ovs:NAME@VLAN" in caught.value.remedy
