"""vSphere's devices in our words, from objects as pyVmomi makes them."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim

from app.domain.errors import PermanentError
from app.domain.networks import Bandwidth
from workers.sources.vsphere import devices
from workers.sources.vsphere.deviceurls import map_urls
from workers.sources.vsphere.networks import Network

device = vim.vm.device
Disk = device.VirtualDisk
MIB = 1 << 20


def disk(key: int, controller: int = 1000, unit: int = 0, backing: Any = None) -> Any:
    made = Disk(key=key, controllerKey=controller, unitNumber=unit, capacityInKB=1024, capacityInBytes=MIB)
    made.deviceInfo = vim.Description(label=f"Hard disk {key - 1999}", summary="")
    made.backing = backing or Disk.FlatVer2BackingInfo(fileName="[ds] a/a.vmdk", diskMode="persistent")
    return made


PVSCSI = device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")


@pytest.mark.parametrize(
    ("controller", "name"),
    [
        (device.ParaVirtualSCSIController, "pvscsi"),
        (device.VirtualLsiLogicController, "lsilogic"),
        (device.VirtualLsiLogicSASController, "lsisas"),
        (device.VirtualBusLogicController, "buslogic"),
        (device.VirtualAHCIController, "ahci"),
        (device.VirtualNVMEController, "nvme"),
        (device.VirtualIDEController, "ide"),
        (device.VirtualUSBController, "unknown"),
    ],
)
def test_controllers(controller: type[Any], name: str) -> None:
    (found,) = devices.disks([controller(key=7, busNumber=3), disk(2000, 7, 2)])
    assert (found.controller, found.bus, found.unit) == (name, 3, 2)


def test_order_is_the_guests_not_the_lists() -> None:
    second = device.VirtualLsiLogicController(key=1001, busNumber=1)
    sata = device.VirtualAHCIController(key=15000, busNumber=0)
    nvme = device.VirtualNVMEController(key=31000, busNumber=0)
    ide = device.VirtualIDEController(key=200, busNumber=0)
    every = [ide, sata, nvme, second, PVSCSI]
    every += [disk(2006, 200), disk(2005, 15000), disk(2004, 31000), disk(2003, 1001), disk(2002, 1000, 10)]
    every += [disk(2001, 1000, 2), disk(2000, 1000, 1)]
    assert [found.key for found in devices.disks(every)] == [2000, 2001, 2002, 2003, 2004, 2005, 2006]
    assert [found.key for found in devices.disks(every, [2003])][:2] == [2003, 2000]


@pytest.mark.parametrize(
    ("backing", "kind"),
    [
        (Disk.FlatVer2BackingInfo(fileName="f", diskMode="persistent"), "flat"),
        (Disk.SeSparseBackingInfo(fileName="f", diskMode="persistent"), "sparse"),
        (Disk.SparseVer2BackingInfo(fileName="f", diskMode="persistent"), "sparse"),
        (Disk.RawDiskMappingVer1BackingInfo(fileName="f", compatibilityMode="virtualMode"), "rdm_virtual"),
        (Disk.RawDiskMappingVer1BackingInfo(fileName="f", compatibilityMode="physicalMode"), "rdm_physical"),
        (Disk.RawDiskVer2BackingInfo(deviceName="d", descriptorFileName="f"), "rdm_physical"),
        (Disk.LocalPMemBackingInfo(fileName="f", diskMode="persistent"), "other"),
    ],
)
def test_backings(backing: Any, kind: str) -> None:
    (found,) = devices.disks([PVSCSI, disk(2000, backing=backing)])
    assert found.backing == kind


def test_what_makes_a_disk_special() -> None:
    key = vim.encryption.CryptoKeyId(keyId="k")
    special = Disk.FlatVer2BackingInfo(
        fileName="[ds] b/b.vmdk", diskMode="independent_persistent", sharing="sharingMultiWriter", keyId=key
    )
    special.thinProvisioned = True
    (found,) = devices.disks([PVSCSI, disk(2000, backing=special)])
    assert (found.mode, found.sharing, found.encrypted, found.thin) == (
        "independent_persistent",
        "multi_writer",
        True,
        True,
    )
    assert found.path == "[ds] b/b.vmdk"
    shared = device.VirtualLsiLogicSASController(key=1000, busNumber=0, sharedBus="physicalSharing")
    assert devices.disks([shared, disk(2000)])[0].sharing == "bus"
    assert devices.disks([PVSCSI, disk(2000)])[0].sharing == "none"


def test_a_disk_of_an_old_api_has_kilobytes_only() -> None:
    old = disk(2000)
    old.capacityInBytes = None
    assert devices.disks([PVSCSI, old])[0].capacity_bytes == MIB


def card(kind: type[Any], key: int, backing: Any, **more: Any) -> Any:
    return kind(key=key, macAddress=f"00:50:56:AA:00:{key - 4000:02X}", backing=backing, **more)


def test_network_cards() -> None:
    dvs = device.VirtualEthernetCard.DistributedVirtualPortBackingInfo(
        port=vim.dvs.PortConnection(switchUuid="u", portgroupKey="dvportgroup-9")
    )
    opaque = device.VirtualEthernetCard.OpaqueNetworkBackingInfo(opaqueNetworkId="nsx-1", opaqueNetworkType="nsx")
    plain = device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network", network=vim.Network("network-7"))
    gone = device.VirtualEthernetCard.NetworkBackingInfo(deviceName="deleted")
    off = device.VirtualDevice.ConnectInfo(connected=False, startConnected=False, allowGuestControl=True)
    slot = device.VirtualDevice.PciBusSlotInfo(pciSlotNumber=33)
    cards = [
        card(device.VirtualE1000e, 4001, opaque, slotInfo=slot),
        card(device.VirtualVmxnet3, 4000, dvs, slotInfo=slot),
        card(device.VirtualE1000, 4002, plain, connectable=off),
        card(device.VirtualSriovEthernetCard, 4003, gone),
    ]
    given = vim.net.IpConfigInfo.IpAddress(ipAddress="10.0.0.4", prefixLength=16, origin="dhcp")
    own = vim.net.IpConfigInfo.IpAddress(ipAddress="10.0.0.5", prefixLength=16, origin="manual")
    seen = [
        vim.vm.GuestInfo.NicInfo(macAddress="00:50:56:aa:00:00", ipConfig=vim.net.IpConfigInfo(ipAddress=[given, own])),
        vim.vm.GuestInfo.NicInfo(macAddress="00:50:56:aa:00:01"),
        vim.vm.GuestInfo.NicInfo(),
    ]
    extra = {"ethernet0.pciSlotNumber": "192", "ethernet2.pciSlotNumber": "-1"}
    names = {
        "dvportgroup-9": Network("prod/10", vlan=10, mtu=9000, sends=Bandwidth(average=1000)),
        "nsx-1": Network("segment"),
        "network-7": Network("VM Network"),
    }
    standard = {
        "VM Network": Network("VM Network", vlan=7),
        "deleted": Network("deleted", receives=Bandwidth(average=9)),
    }
    cards[0].resourceAllocation = vim.vm.device.VirtualEthernetCard.ResourceAllocation(limit=8)
    cards[1].resourceAllocation = vim.vm.device.VirtualEthernetCard.ResourceAllocation(limit=-1)
    found = devices.nics(cards, extra, seen, names, standard)
    assert [(nic.adapter, nic.network, nic.slot, nic.connected) for nic in found] == [
        ("vmxnet3", "prod/10", 192, True),
        ("e1000e", "segment", 33, True),
        ("e1000", "VM Network", None, False),
        ("sriovethernetcard", "deleted", None, True),
    ]
    assert [nic.addresses for nic in found] == [("10.0.0.4/16", "10.0.0.5/16"), (), (), ()]
    assert [nic.static for nic in found] == [("10.0.0.5/16",), (), (), ()]
    assert [(nic.vlan, nic.mtu) for nic in found] == [(10, 9000), (0, 0), (7, 0), (0, 0)]
    assert [nic.sends for nic in found] == [Bandwidth(average=1000), Bandwidth(average=1_000_000), None, None]
    assert [nic.receives for nic in found] == [None, None, None, Bandwidth(average=9)]
    assert found[0].mac == "00:50:56:aa:00:00"


def test_devices_that_do_not_travel() -> None:
    gpu = device.VirtualPCIPassthrough(key=13000, deviceInfo=vim.Description(label="PCI device 0", summary="vGPU"))
    nic = device.VirtualSriovEthernetCard(key=4000)
    assert devices.passthrough([PVSCSI, gpu, nic]) == ("PCI device 0", "device 4000")
    assert devices.passthrough([device.VirtualNVDIMM(key=1), device.VirtualSCSIPassthrough(key=2)])
    assert devices.has_tpm([device.VirtualTPM(key=11000)])
    assert not devices.has_tpm([PVSCSI])


def test_drives_and_limits() -> None:
    assert devices.cdroms([PVSCSI, device.VirtualCdrom(key=3000), device.VirtualCdrom(key=3001)]) == 2
    limited, free = disk(2000), disk(2001, unit=1)
    limited.storageIOAllocation = vim.StorageResourceManager.IOAllocationInfo(limit=500)
    free.storageIOAllocation = vim.StorageResourceManager.IOAllocationInfo(limit=-1)
    assert [found.iops_limit for found in devices.disks([PVSCSI, limited, free, disk(2002, unit=2)])] == [
        500,
        None,
        None,
    ]


def url(key: str, *, is_disk: bool | None = True, path: str = "disk-0.vmdk") -> Any:
    return vim.HttpNfcLease.DeviceUrl(key=key, importKey=key, url=f"https://*/nfc/x/{path}", disk=is_disk)


LSI = device.VirtualLsiLogicController(key=1001, busNumber=1)
AHCI = device.VirtualAHCIController(key=15000, busNumber=0)
DISKS = devices.disks([PVSCSI, LSI, AHCI, disk(2000), disk(2001, 1000, 1), disk(2016, 1001), disk(16000, 15000)])


@pytest.mark.parametrize(
    "keys",
    [
        ["/vm-1/VirtualDisk:2000", "/vm-1/VirtualDisk:2001", "/vm-1/VirtualDisk:2016", "/vm-1/VirtualDisk:16000"],
        [
            "/vm-1/ParaVirtualSCSIController0:0",
            "/vm-1/ParaVirtualSCSIController0:1",
            "/vm-1/VirtualLsiLogicController1:0",
            "/vm-1/VirtualAHCIController0:0",
        ],
    ],
)
def test_urls_find_their_disks_in_any_order(keys: list[str]) -> None:
    urls = [url(key) for key in keys]
    nvram = url("/vm-1/nvram", is_disk=False, path="a.nvram")
    unmarked = url("/vm-1/log", is_disk=None, path="vmware.log")
    found = map_urls([*reversed(urls), nvram, unmarked], DISKS)
    assert list(found) == [2000, 2001, 2016, 16000]
    assert [found[key].key for key in found] == keys


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["/vm-1/VirtualDisk:2000", "/vm-1/VirtualDisk:2001", "/vm-1/VirtualDisk:2016"],  # one is left out
        ["/vm-1/VirtualDisk:2000", "/vm-1/ParaVirtualSCSIController0:0"],  # twice the same
        ["/vm-1/VirtualDisk:2000", "/vm-1/VirtualDisk:2001", "/vm-1/VirtualDisk:2016", "/vm-1/VirtualDisk:2017"],
        ["/vm-1/disk-0", "/vm-1/disk-1", "/vm-1/disk-2", "/vm-1/disk-3"],
    ],
)
def test_no_guesses(keys: list[str]) -> None:
    with pytest.raises(PermanentError) as caught:
        map_urls([url(key) for key in keys], DISKS)
    assert caught.value.code == "export_mismatch"


def test_what_stays_behind_is_named() -> None:
    floppy = device.VirtualFloppy(key=8000)
    floppy.deviceInfo = vim.Description(label="Floppy drive 1", summary="")
    video = device.VirtualVideoCard(key=500, enable3DSupport=True)
    others = [PVSCSI, disk(2000), device.VirtualUSBController(key=7000), device.VirtualVideoCard(key=501)]
    assert devices.left_behind([*others, device.VirtualSerialPort(key=9000), floppy, video]) == (
        "device 9000",
        "Floppy drive 1",
        "3D graphics",
    )
    assert devices.left_behind(others) == ()
    assert [devices.has_sound(found) for found in (others, [device.VirtualHdAudioCard(key=5000)])] == [False, True]


def test_reservations() -> None:
    assert [devices.reservation_of(found) for found in (None, vim.ResourceAllocationInfo())] == [0, 0]
    assert devices.reservation_of(vim.ResourceAllocationInfo(reservation=512)) == 512


def test_routes_and_name_servers_as_tools_reports_them() -> None:
    routes, any_ = vim.net.IpRouteConfigInfo, ".".join("0000")
    gateway = routes.Gateway(ipAddress="192.0.2.1", device="0")
    stack = vim.vm.GuestInfo.StackInfo(
        dnsConfig=vim.net.DnsConfigInfo(
            dhcp=False, hostName="a", domainName="", ipAddress=["192.0.2.54", "192.0.2.53"]
        ),
        ipRouteConfig=routes(
            ipRoute=[
                routes.IpRoute(network=any_, prefixLength=0, gateway=gateway),
                routes.IpRoute(network="198.51.100.0", prefixLength=24, gateway=gateway),
                routes.IpRoute(network="192.0.2.0", prefixLength=24, gateway=routes.Gateway(device="0")),
                routes.IpRoute(network="::", prefixLength=0, gateway=routes.Gateway(ipAddress="fe80::1", device="0")),
            ]
        ),
    )
    said = ("198.51.100.0/24 via 192.0.2.1", "default via 192.0.2.1")
    assert devices.routes([stack, vim.vm.GuestInfo.StackInfo()]) == said
    assert devices.dns([stack, vim.vm.GuestInfo.StackInfo()]) == ("192.0.2.53", "192.0.2.54")
