"""Devices of a host: what a user may give, and how libvirt writes it."""

from __future__ import annotations

import pytest

from app.domain.errors import InvalidRequest
from app.domain.hostdevs import HostDevice, parse, pci_address

MDEV = "c0b26072-dd1b-4340-84fe-bf338c510818"


def test_what_may_be_given() -> None:
    assert parse("0000:3B:1f.7") == HostDevice(kind="pci", address="0000:3b:1f.7")
    assert parse(MDEV.upper()) == HostDevice(kind="mdev", address=MDEV)
    assert parse("None") is None
    assert pci_address("0001:3b:1f.7") == {"domain": "0x0001", "bus": "0x3b", "slot": "0x1f", "function": "0x7"}


@pytest.mark.parametrize(
    "text", ["", "3b:00.0", "0000:3b:00", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00.0 ", "/dev/vfio/1", MDEV[:-1]]
)
def test_what_may_not(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert "0000:3b:00.0" in caught.value.remedy
