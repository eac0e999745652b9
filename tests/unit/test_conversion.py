"""Which converter takes a guest."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.conversion import converters_for, is_known
from app.domain.move import ConverterName
from tests.unit.moves import make_vm

V2V, NATIVE, COMPAT = ConverterName.VIRT_V2V, ConverterName.NATIVE, ConverterName.COMPAT


@pytest.mark.parametrize(
    ("vm", "virt_v2v", "converters"),
    [
        ({"guest_id": "debian12_64Guest"}, (2, 2), [V2V, NATIVE]),
        ({"guest_id": "rhel9_64Guest", "firmware": "efi"}, (2, 2), [V2V, NATIVE]),
        ({"guest_id": "debian11_64Guest", "firmware": "efi"}, (2, 2), [V2V, NATIVE]),
        ({"guest_id": "debian12_64Guest", "firmware": "efi"}, (2, 2), [NATIVE]),
        ({"guest_id": "debian13_64Guest", "firmware": "efi"}, (2, 11, 9), [NATIVE]),
        ({"guest_id": "debian12_64Guest", "firmware": "efi"}, (2, 12), [V2V, NATIVE]),
        ({"guest_id": "otherLinux64Guest"}, (2, 2), [V2V, NATIVE]),
        ({"guest_id": ""}, (2, 2), [V2V, NATIVE]),
        ({"guest_id": "ubuntu64Guest"}, (), [NATIVE]),
        ({"guest_id": "windows2019srv_64Guest"}, (2, 2), [V2V]),
        ({"guest_id": "windows2019srv_64Guest"}, (), [V2V]),
        ({"guest_id": "freebsd13_64Guest"}, (2, 2), []),
    ],
)
def test_who_is_tried(vm: dict[str, Any], virt_v2v: tuple[int, ...], converters: list[ConverterName]) -> None:
    choices = converters_for(make_vm(**vm), None, virt_v2v)
    assert [choice.converter for choice in choices] == converters
    assert all(choice.reason for choice in choices)


@pytest.mark.parametrize("wanted", ConverterName)
def test_the_users_word_counts_alone(wanted: ConverterName) -> None:
    for guest in ("freebsd13_64Guest", "debian12_64Guest"):
        assert [choice.converter for choice in converters_for(make_vm(guest_id=guest), wanted, ())] == [wanted]


@pytest.mark.parametrize(
    ("guest", "known"),
    [
        ("rockylinux_64Guest", True),
        ("almalinux_64Guest", True),  # it has /etc/redhat-release
        ("sles15_64Guest", True),
        ("ubuntu64Guest", True),
        ("windows11_64Guest", True),
        ("amazonlinux3_64Guest", False),  # to libguestfs neither, up to 1.54
        ("vmwarePhoton64Guest", False),
    ],
)
def test_systems_that_virt_v2v_knows(guest: str, known: bool) -> None:
    assert is_known(make_vm(guest_id=guest)) is known
