"""What descriptors of the usual writers say, what is refused with a remedy, and that no bytes do anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import PermanentError, UnsafeImage, VmferryError
from app.domain.models import VM
from converters import ovf
from converters.ovf import Envelope
from converters.ovf_system import mac
from converters.ovf_xml import MAX_BYTES, unit
from tests.packages import (
    CPU,
    MEMORY,
    MIB,
    NIC,
    PVSCSI,
    STREAM_FORMAT,
    PackagedDisk,
    descriptor,
    disk_entry,
    disk_items,
    envelope,
    file_entry,
    item,
    system,
)

GIB = 1 << 30
PLAIN = descriptor([PackagedDisk("a.vmdk", b"x" * 10, 4 * MIB), PackagedDisk("b.vmdk", b"", 2 * MIB)])
VBOX = b"""<?xml version="1.0"?>
<Envelope ovf:version="2.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/2"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/2" xmlns:vbox="http://www.virtualbox.org/ovf/machine"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:epasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData.xsd"
  xmlns:sasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData.xsd">
  <References><File ovf:id="file1" ovf:href="box%20disk001.vmdk"/></References>
  <DiskSection><Info/><Disk ovf:capacity="8589934592" ovf:diskId="vmdisk1" ovf:fileRef="file1"
    ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
  <VirtualSystem ovf:id="box"><Info/>
    <OperatingSystemSection ovf:id="80"><Info/><Description>RedHat_64</Description>
      <vbox:OSType ovf:required="false">RedHat_64</vbox:OSType></OperatingSystemSection>
    <VirtualHardwareSection><Info/>
      <Item><rasd:Caption>2 virtual CPU</rasd:Caption><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>PIIX4</rasd:ResourceSubType><rasd:ResourceType>5</rasd:ResourceType></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType></Item>
      <StorageItem><sasd:AddressOnParent>1</sasd:AddressOnParent><sasd:Caption>disk1</sasd:Caption>
        <sasd:HostResource>/disk/vmdisk1</sasd:HostResource><sasd:InstanceID>8</sasd:InstanceID>
        <sasd:Parent>5</sasd:Parent><sasd:ResourceType>17</sasd:ResourceType></StorageItem>
      <EthernetPortItem><epasd:AutomaticAllocation>true</epasd:AutomaticAllocation>
        <epasd:Connection>NAT</epasd:Connection><epasd:InstanceID>10</epasd:InstanceID>
        <epasd:ResourceSubType>E1000</epasd:ResourceSubType><epasd:ResourceType>10</epasd:ResourceType>
      </EthernetPortItem>
    </VirtualHardwareSection>
    <vbox:Machine ovf:required="false" uuid="{0CC19EE9-dbb3-4e19-a4da-8c1911046394}" OSType="RedHat_64" name="box">
      <Hardware><Firmware type="EFI"/><Network>
        <Adapter slot="1" enabled="false" MACAddress="080027000002"/>
        <Adapter slot="0" enabled="true" MACAddress="080027DDE185" type="82540EM"/></Network></Hardware>
    </vbox:Machine>
  </VirtualSystem>
</Envelope>"""


def one(hardware: str, *, files: str = "", disks: str = "", more: str = "", sections: str = "") -> VM:
    return read(envelope(files, disks, sections + system("web", hardware, more=more))).systems[0].vm


def read(data: bytes) -> Envelope:
    return ovf.parse(data)


def test_a_vm_as_vsphere_writes_it() -> None:
    found = read(PLAIN)
    (only,) = found.systems
    vm = only.vm
    assert (vm.name, vm.uuid, vm.cpus, vm.memory_bytes, vm.firmware) == ("web", "", 2, GIB, "bios")
    assert (vm.guest_id, vm.guest_name) == ("debian12_64Guest", "Debian GNU/Linux 12 (64-bit)")
    assert [(d.key, d.label, d.capacity_bytes, d.controller, d.bus, d.unit) for d in vm.disks] == [
        (2000, "Hard disk 1", 4 * MIB, "pvscsi", 0, 0),
        (2001, "Hard disk 2", 2 * MIB, "pvscsi", 0, 1),
    ]
    assert only.files == {2000: "a.vmdk", 2001: "b.vmdk"}
    assert found.files == {"a.vmdk": 10, "b.vmdk": 0}
    (nic,) = vm.nics
    assert (nic.mac, nic.network, nic.adapter, nic.slot, nic.connected) == (
        "00:50:56:00:00:01",
        "VM Network",
        "vmxnet3",
        192,
        True,
    )
    assert vm.concerns == ()


def test_a_vm_as_virtualbox_writes_it() -> None:
    (only,) = read(VBOX).systems
    vm = only.vm
    assert (vm.name, vm.uuid, vm.firmware) == ("box", "0cc19ee9-dbb3-4e19-a4da-8c1911046394", "efi")
    assert (vm.cpus, vm.memory_bytes, vm.guest_id) == (2, 2 * GIB, "rhel_64")
    assert [(d.capacity_bytes, d.controller, d.bus, d.unit) for d in vm.disks] == [(8 * GIB, "ahci", 0, 1)]
    assert only.files == {2000: "box disk001.vmdk"}
    assert [(nic.mac, nic.network, nic.adapter) for nic in vm.nics] == [("08:00:27:dd:e1:85", "NAT", "e1000")]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 1),
        ("byte", 1),
        ("bytes", 1),
        ("byte * 2^30", GIB),
        ("byte*2^20", MIB),
        ("Byte * 10^9", 10**9),
        ("byte * 2^10 * 512", MIB // 2),
        ("MegaBytes", MIB),
        ("GB", GIB),
    ],
)
def test_units(text: str, size: int) -> None:
    assert unit(text) == size


@pytest.mark.parametrize(
    "text", ["parsec", "byte * 2^99", "byte * 0", "byte * 2^-1", "byte + 1", "hertz * 10^6", "byte * 9" * 400]
)
def test_units_that_are_none(text: str) -> None:
    with pytest.raises(UnsafeImage):
        unit(text)


@pytest.mark.parametrize(
    ("kind", "subtype", "controller"),
    [
        (6, "VirtualSCSI", "pvscsi"),
        (6, "lsilogic", "lsilogic"),
        (6, "lsilogicsas", "lsisas"),
        (6, "buslogic", "buslogic"),
        (6, "", "lsilogic"),
        (20, "LsiLogicSas", "lsisas"),
        (20, "vmware.sata.ahci", "ahci"),
        (20, "vmware.nvme.controller", "nvme"),
        (20, "VirtioSCSI", "unknown"),
        (5, "", "ide"),
    ],
)
def test_controllers(kind: int, subtype: str, controller: str) -> None:
    bus = item(Address=1, InstanceID=3, ResourceSubType=subtype, ResourceType=kind)
    vm = one(CPU + MEMORY + bus + disk_items(1), files=file_entry(1, "a.vmdk", 1), disks=disk_entry(1, 512))
    assert (vm.disks[0].controller, vm.disks[0].bus) == (controller, 1)


def test_disks_come_as_the_guest_counts_them_and_the_boot_disk_first() -> None:
    ide = item(Address=0, InstanceID=30, ResourceType=5)
    on_ide = item(
        AddressOnParent=1, ElementName="old", HostResource="/disk/vmdisk3", InstanceID=40, Parent=30, ResourceType=17
    )
    parts = {
        "files": "".join(file_entry(i, f"{i}.vmdk", 1) for i in (1, 2, 3)),
        "disks": "".join(disk_entry(i, 512 * i) for i in (1, 2, 3)),
    }
    hardware = CPU + MEMORY + ide + on_ide + PVSCSI + disk_items(2)
    assert [d.capacity_bytes // 512 for d in one(hardware, **parts).disks] == [1, 2, 3]
    boot = '<vmw:BootOrderSection vmw:instanceId="40" vmw:type="disk"><Info/></vmw:BootOrderSection>'
    assert [d.capacity_bytes // 512 for d in one(hardware, **parts, more=boot).disks] == [3, 1, 2]


def test_firmware_cores_and_tpm() -> None:
    config = (
        '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>'
        '<vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>'
    )
    cpu = CPU.replace("</Item>", '<vmw:CoresPerSocket ovf:required="false">2</vmw:CoresPerSocket></Item>')
    tpm = item(ElementName="Virtual TPM", InstanceID=14, ResourceSubType="vmware.vtpm", ResourceType=1)
    vm = one(cpu + MEMORY + tpm + config)
    assert (vm.firmware, vm.secure_boot, vm.cores_per_socket, vm.tpm) == ("efi", True, 2, True)


def test_hot_add_sound_and_what_stays_behind() -> None:
    config = "".join(
        f'<vmw:Config ovf:required="false" vmw:key="{key}" vmw:value="true"/>'
        for key in ("cpuHotAddEnabled", "memoryHotAddEnabled", "videoCard.enable3DSupport")
    )
    sound = item(ElementName="Sound card", InstanceID=20, ResourceSubType="vmware.soundcard.hdaudio", ResourceType=1)
    serial = item(ElementName="Serial port 1", InstanceID=21, ResourceType=21)
    vm = one(CPU + MEMORY + sound + serial + config)
    assert (vm.cpu_hot_add, vm.memory_hot_add, vm.sound) == (True, True, True)
    assert vm.left_behind == ("Serial port 1", "3D graphics")
    plain = one(CPU + MEMORY)
    assert (plain.cpu_hot_add, plain.memory_hot_add, plain.sound, plain.left_behind) == (False, False, False, ())


def test_a_disk_without_a_file_is_empty() -> None:
    (only,) = read(
        envelope("", disk_entry(1, GIB, file=False), system("web", CPU + MEMORY + PVSCSI + disk_items(1)))
    ).systems
    assert only.vm.disks[0].capacity_bytes == GIB
    assert only.files == {}


def test_several_vms_in_one_package() -> None:
    systems = (
        '<VirtualSystemCollection ovf:id="app"><Info/>'
        + system("db", CPU + MEMORY + PVSCSI + disk_items(1), key="db")
        + '<VirtualSystemCollection ovf:id="inner"><Info/>'
        + system("web", CPU + MEMORY + PVSCSI + disk_items(1, first=1), key="web")
        + "</VirtualSystemCollection></VirtualSystemCollection>"
    )
    files = file_entry(1, "a.vmdk", 1) + file_entry(2, "b.vmdk", 1)
    found = read(envelope(files, disk_entry(1, 512) + disk_entry(2, 512), systems))
    assert [(one.vm.id, one.files) for one in found.systems] == [("db", {2000: "a.vmdk"}), ("web", {2000: "b.vmdk"})]


def test_a_deployment_option_is_chosen_and_told() -> None:
    options = (
        '<DeploymentOptionSection><Info/><Configuration ovf:id="small"/>'
        '<Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>'
    )
    large = item(InstanceID=1, ResourceType=3, VirtualQuantity=8).replace("<Item>", '<Item ovf:configuration="large">')
    small = item(InstanceID=1, ResourceType=3, VirtualQuantity=4).replace("<Item>", '<Item ovf:configuration="small">')
    least = item(InstanceID=2, ResourceType=4, VirtualQuantity=1).replace("<Item>", '<Item ovf:bound="min">')
    vm = one(CPU + MEMORY + large + small + least, sections=options)
    assert (vm.cpus, vm.memory_bytes) == (8, GIB)
    assert [concern.code for concern in vm.concerns] == ["deployment_option_chosen"]


def test_what_is_left_behind_is_told() -> None:
    image = item(HostResource="ovf:/file/file9", InstanceID=9, ResourceType=15)
    card = item(Connection="lan", InstanceID=12, ResourceType=10)
    asks = '<ProductSection><Info/><Property ovf:key="ip"/><Property ovf:key="mask"/></ProductSection>'
    vm = one(CPU + MEMORY + image + NIC + card, more=asks)
    assert {concern.code for concern in vm.concerns} == {
        "mac_not_in_package",
        "media_left_behind",
        "properties_not_passed",
    }
    assert [nic.mac for nic in vm.nics] == ["00:50:56:00:00:01", ""]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00:50:56:8A:00:01", "00:50:56:8a:00:01"),
        ("00-50-56-8a-00-01", "00:50:56:8a:00:01"),
        ("080027DDE185", "08:00:27:dd:e1:85"),
        ("01:00:5e:00:00:01", ""),
        ("00:00:00:00:00:00", ""),
        ("7", ""),
        ("", ""),
    ],
)
def test_macs(text: str, address: str) -> None:
    assert mac(text) == address


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("ovf:size=", 'ovf:compression="gzip" ovf:size=', "--compress"),
        ("ovf:size=", 'ovf:chunkSize="100" ovf:size=', "--chunkSize"),
        ("#streamOptimized", "#sparse", "streamOptimized"),
        (STREAM_FORMAT, "http://www.gnome.org/~markmc/qcow-image-format.html", "streamOptimized"),
        ('ovf:capacity="4194304"', 'ovf:capacity="${size}"', "Deploy"),
        ('ovf:href="a.vmdk"', 'ovf:href="https://evil.example/a.vmdk"', "Download"),
        ("ovf:diskId=", 'ovf:parentRef="vmdisk2" ovf:diskId=', "clone"),
        ("<DiskSection>", "<EncryptionSection/><DiskSection>", "encryption"),
        ("ovf:/disk/vmdisk1", "ovf:/file/file1", "disks in the package"),
    ],
)
def test_what_is_honest_and_not_read_is_refused_with_a_remedy(old: str, new: str, word: str) -> None:
    assert old.encode() in PLAIN
    with pytest.raises(PermanentError) as caught:
        read(PLAIN.replace(old.encode(), new.encode(), 1))
    assert caught.value.code == "unsupported_package"
    assert word in caught.value.remedy


def test_a_descriptor_of_any_size_is_not_read() -> None:
    with pytest.raises(UnsafeImage):
        read(PLAIN + b" " * MAX_BYTES)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([PLAIN, VBOX]), st.data())
def test_a_changed_descriptor_is_read_or_refused(text: bytes, data: st.DataObject) -> None:
    """Bytes cut out, put in or replaced: nothing but our own errors."""
    changed = bytearray(text)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        length = data.draw(st.sampled_from([0, 1, 2, 5, 40]))
        changed[start : start + length] = data.draw(
            st.one_of(
                st.binary(max_size=6), st.sampled_from([b"-1", b"0", b"9" * 20, b"${x}", "٣".encode(), b"../", b""])
            )
        )
    try:
        found = read(bytes(changed))
    except VmferryError:
        return
    for one in found.systems:
        assert all(0 < disk.capacity_bytes <= 64 << 40 for disk in one.vm.disks)
        assert all("/" not in name for name in one.files.values())


def test_only_encodings_that_load_no_module() -> None:
    assert read(PLAIN.replace(b"UTF-8", b"ISO-8859-1")).systems
    assert read(b"\xef\xbb\xbf" + PLAIN).systems
    for text in (
        PLAIN.replace(b"UTF-8", b"rot13"),
        PLAIN.decode().encode("utf-16"),
        PLAIN.decode().encode("utf-16-le"),
    ):
        with pytest.raises(UnsafeImage):
            read(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UnsafeImage):
        read(data)
