"""Port groups: their names, VLANs and limits, and the MTU of the switch behind each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pyVmomi import vim

from app.domain.networks import TRUNK, Bandwidth
from workers.sources.vsphere.words import unescape

PATHS: dict[type[Any], tuple[str, ...]] = {vim.Network: ("name",)}
VCENTER_PATHS: dict[type[Any], tuple[str, ...]] = {  # a host on its own does not know these
    vim.dvs.DistributedVirtualPortgroup: (
        "name",
        "key",
        "config.defaultPortConfig",
        "config.distributedVirtualSwitch",
    ),
    vim.DistributedVirtualSwitch: ("config",),
    vim.OpaqueNetwork: ("name", "summary"),
}
HOST_PATHS = ("config.network.portgroup", "config.network.vswitch")  # of the standard switches, which are the host's
BITS = 8

_dvs = vim.dvs.VmwareDistributedVirtualSwitch
Places = Mapping[str, tuple[Any, dict[str, Any]]]  # object id → the object, its properties


class Network(NamedTuple):
    name: str
    vlan: int = 0
    mtu: int = 0
    sends: Bandwidth | None = None
    receives: Bandwidth | None = None


def networks(places: Places) -> Iterator[tuple[str, Network]]:
    """By the object's id, and by the key or id under which a card's backing knows it."""
    for moid, (ref, values) in places.items():
        if not isinstance(ref, vim.Network):
            continue
        network = _network(unescape(values.get("name") or moid), values, places)
        yield moid, network
        if values.get("key"):
            yield values["key"], network
        if isinstance(values.get("summary"), vim.OpaqueNetwork.Summary):
            yield values["summary"].opaqueNetworkId, network


def standard(values: Mapping[str, Any]) -> dict[str, Network]:
    """The port groups of a host's standard switches, by their names, from the host's properties."""
    mtus = {switch.name: switch.mtu or 0 for switch in values.get("config.network.vswitch") or ()}
    found = {}
    for group in values.get("config.network.portgroup") or ():
        shaping = group.computedPolicy.shapingPolicy if group.computedPolicy else None
        found[group.spec.name] = Network(
            name=group.spec.name,
            vlan=group.spec.vlanId or 0,
            mtu=mtus.get(group.spec.vswitchName, 0),
            sends=_bandwidth(shaping.averageBandwidth, shaping.peakBandwidth, shaping.burstSize)
            if shaping and shaping.enabled
            else None,
        )
    return found


def _network(name: str, values: Mapping[str, Any], places: Places) -> Network:
    port, switch = values.get("config.defaultPortConfig"), values.get("config.distributedVirtualSwitch")
    if port is None:
        return Network(name)
    _, of_switch = places.get(switch._GetMoId(), (None, {})) if switch is not None else (None, {})
    return Network(
        name=name,
        vlan=_vlan(getattr(port, "vlan", None)),
        mtu=getattr(of_switch.get("config"), "maxMtu", None) or 0,
        sends=_shaping(port.inShapingPolicy),  # "in" is what comes into the switch
        receives=_shaping(port.outShapingPolicy),
    )


def _vlan(spec: Any) -> int:
    match spec:
        case _dvs.VlanIdSpec():
            return spec.vlanId or 0
        case _dvs.PvlanSpec():
            return spec.pvlanId or 0
        case _dvs.TrunkVlanSpec():
            return TRUNK
    return 0


def _shaping(policy: Any) -> Bandwidth | None:
    if policy is None or policy.enabled is None or not policy.enabled.value:
        return None
    rates = (policy.averageBandwidth, policy.peakBandwidth, policy.burstSize)
    return _bandwidth(*(rate.value if rate else 0 for rate in rates))


def _bandwidth(average: int | None, peak: int | None, burst: int | None) -> Bandwidth | None:
    """From bits a second, and bytes of a burst."""
    if not average or average < BITS:
        return None
    return Bandwidth(average=average // BITS, peak=(peak or 0) // BITS, burst=burst or 0)
