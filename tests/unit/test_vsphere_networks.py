"""Port groups in our words, from objects as pyVmomi makes them."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim

from app.domain.networks import Bandwidth
from workers.sources.vsphere.networks import Network, networks, standard

_dvs = vim.dvs.VmwareDistributedVirtualSwitch


def rate(value: int) -> Any:
    return vim.LongPolicy(inherited=False, value=value)


def shaping(average: int, on: bool = True) -> Any:
    return vim.dvs.DistributedVirtualPort.TrafficShapingPolicy(
        inherited=False,
        enabled=vim.BoolPolicy(inherited=False, value=on),
        averageBandwidth=rate(average),
        peakBandwidth=rate(2 * average),
        burstSize=rate(4096),
    )


def distributed(vlan: Any, **policies: Any) -> Network:
    switch = vim.dvs.VmwareDistributedVirtualSwitch("dvs-1")
    group = vim.dvs.DistributedVirtualPortgroup("dvportgroup-9")
    values = {
        "name": "prod%2f10",
        "key": "dvportgroup-9",
        "config.defaultPortConfig": _dvs.VmwarePortConfigPolicy(vlan=vlan, **policies),
        "config.distributedVirtualSwitch": switch,
    }
    places: dict[str, Any] = {
        "dvportgroup-9": (group, values),
        "dvs-1": (switch, {"config": _dvs.ConfigInfo(maxMtu=9000)}),
    }
    found = dict(networks(places))
    assert set(found) == {"dvportgroup-9"}
    return found["dvportgroup-9"]


@pytest.mark.parametrize(
    ("spec", "vlan"),
    [
        (_dvs.VlanIdSpec(vlanId=10), 10),
        (_dvs.VlanIdSpec(vlanId=0), 0),
        (_dvs.PvlanSpec(pvlanId=12), 12),
        (_dvs.TrunkVlanSpec(vlanId=[vim.NumericRange(start=0, end=4094)]), 4095),
        (None, 0),
    ],
)
def test_vlans(spec: Any, vlan: int) -> None:
    assert distributed(spec) == Network("prod/10", vlan=vlan, mtu=9000)


def test_what_comes_into_the_switch_is_what_the_guest_sends() -> None:
    found = distributed(None, inShapingPolicy=shaping(80_000), outShapingPolicy=shaping(160_000))
    assert found.sends == Bandwidth(average=10_000, peak=20_000, burst=4096)
    assert found.receives == Bandwidth(average=20_000, peak=40_000, burst=4096)
    assert distributed(None, inShapingPolicy=shaping(80_000, on=False)).sends is None


def test_networks_of_other_kinds_have_names_only() -> None:
    summary = vim.OpaqueNetwork.Summary(opaqueNetworkId="nsx-1", opaqueNetworkType="nsx")
    places: dict[str, Any] = {
        "network-7": (vim.Network("network-7"), {"name": "VM Network"}),
        "network-8": (vim.OpaqueNetwork("network-8"), {"name": "segment", "summary": summary}),
        "host-1": (vim.HostSystem("host-1"), {"name": "esx1"}),
    }
    assert dict(networks(places)) == {
        "network-7": Network("VM Network"),
        "network-8": Network("segment"),
        "nsx-1": Network("segment"),
    }


def test_port_groups_of_a_host() -> None:
    policy = vim.host.NetworkPolicy.TrafficShapingPolicy(
        enabled=True, averageBandwidth=8_000_000, peakBandwidth=16_000_000, burstSize=1024
    )
    key = "key-vim.host.VirtualSwitch-vSwitch0"

    def group(name: str, vlan: int, **policies: Any) -> Any:
        spec = vim.host.PortGroup.Specification(name=name, vlanId=vlan, vswitchName="vSwitch0")
        return vim.host.PortGroup(spec=spec, vswitch=key, computedPolicy=vim.host.NetworkPolicy(**policies))

    values = {
        "config.network.vswitch": [vim.host.VirtualSwitch(name="vSwitch0", key=key, mtu=9000)],
        "config.network.portgroup": [group("VM Network", 0), group("DMZ", 30, shapingPolicy=policy)],
    }
    assert standard(values) == {
        "VM Network": Network("VM Network", mtu=9000),
        "DMZ": Network("DMZ", vlan=30, mtu=9000, sends=Bandwidth(average=1_000_000, peak=2_000_000, burst=1024)),
    }
    assert standard({}) == {}
