"""The lab's guest is what it claims to be: booted under QEMU on VMware's devices, and in vain on virtio."""

import pytest

from tests.lab import Guest, build_guest
from tests.lab.proof import Proof, prove


@pytest.fixture(scope="module")
def guest() -> Guest:
    return build_guest()


@pytest.fixture(scope="module")
def proof(guest: Guest) -> Proof:
    return prove(guest)


def test_runs_on_vmware_devices(guest: Guest, proof: Proof) -> None:
    report = proof.report
    assert report["hostname"] == guest.hostname
    assert report["addresses"] == {"ens192": ["192.168.50.10/24"]}
    assert report["macs"] == {"ens192": guest.mac}
    assert report["mounts"]["/"] == ["ext4", guest.root_uuid]
    assert sorted(report["mounts"]) == ["/", "/srv"]
    held = [report["mounts"][point][1] for point in ("/", "/srv")]
    assert report["disks"] == [{"driver": "vmw_pvscsi", "holds": [uuid]} for uuid in held]
    assert report["checksums"] == guest.markers


def test_does_not_start_on_virtio_unconverted(guest: Guest, proof: Proof) -> None:
    assert f"ALERT!  UUID={guest.root_uuid} does not exist" in proof.virtio
    assert "VMFERRY-REPORT" not in proof.virtio
