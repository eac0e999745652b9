"""One lab, one libvirt host and one service for all faults; each test adds VMs of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.world import World
from tests.lab import Lab
from tests.libvirt_host import LibvirtHost
from tests.service import Service

# Fast retries: what is tested is that they happen, not how long they wait.
SETTINGS = {
    "VMFERRY_RETRY_BACKOFF_S": "0.2",
    "VMFERRY_RETRY_ATTEMPTS": "3",
    "VMFERRY_SPACE_POLL_S": "0.5",
    "VMFERRY_LOG_LEVEL": "debug",
}
LEASE_S = 20  # a killed worker's lease keeps its VM from being exported again for so long; 300 on a vCenter


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with (
        Lab(folder / "lab", lease_timeout=LEASE_S) as lab,
        LibvirtHost() as host,
        Service(folder / "home", **SETTINGS) as service,
    ):
        world = World(lab, host, service)
        world.register()
        yield world
        world.clean()


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    shared_world.lab.clear()
    yield shared_world
    shared_world.clean()
