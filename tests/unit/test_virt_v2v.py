"""What virt-v2v is told about a Windows guest's addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.domain.models import VM, Nic
from converters.virt_v2v import arguments
from tests.unit.moves import make_vm

MAC = "00:50:56:8a:50:10"


def windows(*static: str, **changes: Any) -> VM:
    nic = Nic(key=4000, label="Network adapter 1", mac=MAC, network="VM Network", addresses=static, static=static)
    return make_vm(**{"guest_id": "windows2019srv_64Guest", "nics": (nic,)} | changes)


def told(vm: VM) -> list[str]:
    return [word for word in arguments(vm, Path("/x/guest.xml"), "2.2.0", {}) if word.startswith("--mac=")]


@pytest.mark.parametrize(
    ("routes", "dns", "said"),
    [
        (("default via 192.0.2.1",), ("192.0.2.53", "198.51.100.53"), "192.0.2.1,24,192.0.2.53,198.51.100.53"),
        (("default via 203.0.113.1", "default via 192.0.2.1"), (), "192.0.2.1,24"),
        (("default via 203.0.113.1", "10.0.0.0/8 via 192.0.2.9"), ("2001:db8::53",), ",24"),
        (("default via 192.0.2.1,--x",), ("192.0.2.53,203.0.113.66",), ",24"),
    ],
    ids=["all", "the gateway of its network", "none that is its own", "words that are no addresses"],
)
def test_windows_keeps_its_static_address(routes: tuple[str, ...], dns: tuple[str, ...], said: str) -> None:
    vm = windows("fe80::1/64", "192.0.2.10/24", "192.0.2.11/24", routes=routes, dns=dns)
    assert told(vm) == [f"--mac={MAC}:ip:192.0.2.10,{said}"]


def test_nothing_is_said_of_other_addresses_and_guests() -> None:
    given = windows().model_copy(update={"nics": (windows("192.0.2.10/24").nics[0].model_copy(update={"static": ()}),)})
    assert told(given) == []
    assert told(windows("192.0.2.10/24", guest_id="debian12_64Guest")) == []
    assert told(windows("no address")) == []
