"""A .vmx file in our words: what VMware writes is read as it means it, anything else is UnsafeImage, nothing worse."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import UnsafeImage, VmferryError
from app.domain.models import VM, PowerState
from converters.vmx import DiskFacts, read_vm
from converters.vmx_config import Config

GIB = 1 << 30
WORKSTATION = b"""#!/usr/bin/vmware
.encoding = "windows-1252"
config.version = "8"
virtualHW.version = "16"
displayName = "B|22ro|22 M|c3|bcnchen 100|25 |7C x"
guestOS = "debian12-64"
nvram = "web.nvram"
memsize = "2048"
numvcpus = "4"
cpuid.coresPerSocket = "2"
firmware = "efi"
uefi.secureBoot.enabled = "TRUE"
vtpm.present = "TRUE"
annotation = "first line|0Asecond, mit Umlaut: \xfc"
uuid.bios = "56 4d ee 3c 52 06 a3 de-be 4a 73 9c cc 99 15 1f"
uuid.location = "56 4d 00 00 00 00 00 00-00 00 00 00 00 00 00 00"
vc.uuid = "52 0c 1e 0e 9a 11 5b 7c-11 d2 0a 9c 54 9d 3e 5a"
scsi0.present = "TRUE"
scsi0.virtualDev = "lsisas1068"
scsi0:1.present = "TRUE"
scsi0:1.fileName = "data.vmdk"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "system-000002.vmdk"
scsi0:0.mode = "independent-persistent"
scsi0:2.present = "FALSE"
scsi0:2.fileName = "gone.vmdk"
scsi1:0.present = "TRUE"
scsi1:0.fileName = "controller-is-not-there.vmdk"
SATA0.Present = "true"
sata0:1.present = "TRUE"
sata0:1.fileName = "auto detect"
sata0:1.deviceType = "cdrom-raw"
sata0:3.present = "TRUE"
sata0:3.fileName = "sata.vmdk"
nvme0.present = "TRUE"
nvme0:0.present = "TRUE"
nvme0:0.fileName = "fast.vmdk"
ide0:0.present = "TRUE"
ide0:0.fileName = "old.vmdk"
ide1:0.present = "TRUE"
ide1:0.fileName =
ide1:0.deviceType = "atapi-cdrom"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.connectionType = "nat"
ethernet0.addressType = "generated"
ethernet0.generatedAddress = "00:0C:29:99:15:1F"
ethernet0.pciSlotNumber = "192"
ethernet1.present = "TRUE"
ethernet1.virtualDev = "e1000"
ethernet1.connectionType = "custom"
ethernet1.vnet = "VMnet8"
ethernet1.addressType = "static"
ethernet1.address = "00-50-56-00-00-01"
ethernet1.startConnected = "FALSE"
ethernet1.pciSlotNumber = "-1"
ethernet2.present = "TRUE"
ethernet3.present = "FALSE"
floppy0.present = "FALSE"
checkpoint.vmState = ""
usb.present = "TRUE"
"""
ESXI = b"""
.encoding = "UTF-8"
displayName = "win"
guestOS = "windows2019srv-64"
memSize = "4096"
uuid.bios = "42 10 6f 2c 9a 1b 4c 37-8a 11 00 00 00 00 00 01"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0.sharedBus = "physical"
scsi0:0.present = "TRUE"
scsi0:0.deviceType = "scsi-hardDisk"
scsi0:0.fileName = "win.vmdk"
scsi1.present = "TRUE"
scsi1:0.present = "TRUE"
scsi1:0.fileName = "shared.vmdk"
scsi1:0.sharing = "multi-writer"
scsi1:1.present = "TRUE"
scsi1:1.deviceType = "scsi-passthru"
bios.hddOrder = "scsi1:0,scsi0:0"
ethernet0.present = "TRUE"
ethernet0.networkName = "VM Network"
ethernet0.addressType = "vpx"
ethernet0.generatedAddress = "00:50:56:8a:50:10"
ethernet1.present = "TRUE"
ethernet1.dvs.portgroupId = "dvportgroup-55"
ethernet1.generatedAddress = "00:50:56:8a:50:11"
pciPassthru0.present = "TRUE"
"""


def look(name: str) -> DiskFacts:
    return DiskFacts(GIB, "sparse")


def vm(data: bytes, **more: object) -> VM:
    given = {"vm_id": "web/web 01.vmx", "uuid": "00000000-0000-5000-8000-0000000000ff", **more}
    return read_vm(Config.parse(data), look, **given)  # type: ignore[arg-type]


def test_a_vm_of_workstation() -> None:
    read = vm(WORKSTATION)
    assert read.name == 'B"ro" München 100% | x'
    assert read.annotation == "first line\nsecond, mit Umlaut: ü"
    assert (read.uuid, read.instance_uuid) == (
        "564dee3c-5206-a3de-be4a-739ccc99151f",
        "520c1e0e-9a11-5b7c-11d2-0a9c549d3e5a",
    )
    assert (read.cpus, read.cores_per_socket, read.memory_bytes) == (4, 2, 2 * GIB)
    assert (read.firmware, read.secure_boot, read.tpm, read.encrypted) == ("efi", True, True, False)
    assert (read.guest_id, read.power_state) == ("debian12_64Guest", PowerState.OFF)


def test_disks_are_in_the_guests_order_and_cds_are_none() -> None:
    assert [(d.path, d.controller, d.bus, d.unit, d.key, d.label, d.mode) for d in vm(WORKSTATION).disks] == [
        ("system-000002.vmdk", "lsisas", 0, 0, 2000, "Hard disk 1", "persistent"),
        ("data.vmdk", "lsisas", 0, 1, 2001, "Hard disk 2", "persistent"),
        ("fast.vmdk", "nvme", 0, 0, 31000, "Hard disk 3", "persistent"),
        ("sata.vmdk", "ahci", 0, 3, 16003, "Hard disk 4", "persistent"),
        ("old.vmdk", "ide", 0, 0, 3000, "Hard disk 5", "persistent"),
    ]


def test_cards() -> None:
    assert [(n.mac, n.network, n.adapter, n.slot, n.connected, n.key) for n in vm(WORKSTATION).nics] == [
        ("00:0c:29:99:15:1f", "nat", "vmxnet3", 192, True, 4000),
        ("00:50:56:00:00:01", "VMnet8", "e1000", None, False, 4001),
        ("00:0c:29:99:15:33", "bridged", "unknown", None, True, 4002),  # as VMware makes it: UUID + 20
    ]


def test_a_vm_of_esxi() -> None:
    read = vm(ESXI)
    assert [(d.path, d.sharing) for d in read.disks] == [("shared.vmdk", "multi_writer"), ("win.vmdk", "bus")]
    assert [(n.network, n.mac) for n in read.nics] == [
        ("VM Network", "00:50:56:8a:50:10"),
        ("dvportgroup-55", "00:50:56:8a:50:11"),
    ]
    assert read.passthrough == ("device scsi1:1", "PCI device 0")
    assert read.guest_id.lower().startswith("windows2019srv")


def test_a_disk_that_cannot_be_read_is_a_blocker() -> None:
    def refuse(name: str) -> DiskFacts:
        raise UnsafeImage(f"{name} is a link", "Copy it.")

    read = read_vm(Config.parse(ESXI), refuse, vm_id="a.vmx", uuid="0" * 32)
    assert [(concern.code, concern.severity) for concern in read.concerns] == [("disk_not_readable", "blocker")] * 2
    assert "win.vmdk is a link" in read.concerns[0].cause
    assert read.concerns[0].remedy == "Copy it."
    assert read.disk_bytes == 0


def test_hardware_beyond_disks_and_cards() -> None:
    said = b"""
mem.hotadd = "TRUE"
sched.cpu.min = "500"
sched.cpu.shares = "high"
sched.mem.min = "1024"
sched.mem.max = "1536"
numvcpus = "16"
numa.autosize.vcpu.maxPerVirtualNode = "8"
sound.present = "TRUE"
mks.enable3d = "TRUE"
floppy1.present = "TRUE"
serial0.present = "TRUE"
usb:0.present = "TRUE"
usb_xhci.present = "TRUE"
"""
    read = vm(ESXI + said)
    assert (read.memory_hot_add, read.cpu_reservation_mhz, read.cpu_shares, read.numa_nodes) == (True, 500, 32000, 2)
    assert (read.memory_reservation_bytes, read.memory_limit_bytes) == (GIB, 3 * GIB // 2)
    assert read.sound
    assert read.left_behind == ("Floppy drive 2", "Serial port 1", "USB device 1", "3D graphics")
    pinned = vm(ESXI + b'sched.mem.pin = "TRUE"\nsched.mem.max = "unlimited"\nsched.cpu.shares = "normal"\n')
    assert (pinned.memory_reservation_bytes, pinned.memory_limit_bytes, pinned.cpu_shares) == (4 * GIB, None, None)
    plain = vm(ESXI)
    assert (plain.memory_hot_add, plain.sound, plain.left_behind, plain.numa_nodes) == (False, False, (), 1)


def test_power() -> None:
    assert vm(WORKSTATION).power_state is PowerState.OFF
    suspended = WORKSTATION.replace(b'checkpoint.vmState = ""', b'checkpoint.vmState = "web.vmss"')
    assert vm(suspended).power_state is PowerState.SUSPENDED


def test_what_was_never_started_has_a_uuid_all_the_same() -> None:
    read = vm(b'displayName = "new"\nmemsize = "512"\nethernet0.present = "TRUE"\n')
    assert read.uuid == "00000000-0000-5000-8000-0000000000ff"
    assert read.nics[0].mac == "00:0c:29:00:00:ff"
    assert vm(b'memsize = "512"').name == "web 01"


def test_an_encrypted_one() -> None:
    read = vm(b'displayName = "x"\nencryption.keySafe = "vmware:key/list/..."\nencryption.data = "AbC="\n')
    assert read.encrypted
    assert read.disks == ()


def test_snapshots() -> None:
    vmsd = b'snapshot.numSnapshots = "2"\nsnapshot0.displayName = "before"\nsnapshot1.uid = "2"\n'
    assert vm(WORKSTATION, snapshots=Config.parse(vmsd)).snapshots == ("before", "snapshot 2")


@pytest.mark.parametrize(
    ("name", "guest_id"),
    [("ubuntu-64", "ubuntu64Guest"), ("rhel9-64", "rhel9_64Guest"), ("winxppro", "winxpproGuest"), ("", "")],
)
def test_guest_ids(name: str, guest_id: str) -> None:
    assert vm(f'memsize = "4"\nguestOS = "{name}"'.encode()).guest_id == guest_id


@pytest.mark.parametrize(
    "text",
    [
        'memsize = "512"\nmemsize = "512"',
        'memsize = "512"\nMemSize = "1024"',
        'displayName = "no memory"',
        'memsize = "-1"',
        'memsize = "3"',
        'memsize = "0x200"',
        f'memsize = "{10**17}"',
        f'memsize = "{"9" * 5000}"',
        'memsize = "512"\nnumvcpus = "0"',
        'memsize = "512"\nnumvcpus = "99999"',
        'memsize = "512"\ncpuid.coresPerSocket = "two"',
        'memsize = "512"\nscsi9.present = "TRUE"\nscsi9:0.present = "TRUE"',
        'memsize = "512"\nide0:7.present = "TRUE"',
        'memsize = "512"\nscsi0.present = "TRUE"\nscsi0:64.present = "TRUE"',
        'memsize = "512"\nbios.hddOrder = "scsi7:0"',
        'memsize = "512"\nethernet0.present = "TRUE"\nethernet0.address = "hello"',
        'memsize = "512"\nethernet0.present = "TRUE"\nethernet0.generatedAddress = "00:0c:29:99:15:1f:00"',
        'memsize = "512"\ndisplayName = "a|00b"',
        'memsize = "512"\ndisplayName = "a"b"',
        'memsize = "512"\nwhat is this',
        'memsize = "512"\n= "x"',
        'memsize = "512"\n\0',
        '.encoding = "rot13"\nmemsize = "512"',
        "<html>",
        'memsize = "512"\nx = "' + "y" * (5 << 20) + '"',
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UnsafeImage) as caught:
        vm(text.encode())
    assert caught.value.remedy


KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789.:-_", min_size=1, max_size=40)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffd", exclude_categories=["Cs"]), max_size=60)


def escaped(value: str) -> str:
    return "".join(f"|{ord(c):02X}" if c in '|"#' or ord(c) < 32 else c for c in value)


@given(st.dictionaries(KEYS.filter(lambda key: not key.endswith("encoding")), VALUES))
def test_what_is_written_is_read(values: dict[str, str]) -> None:
    written = "\r\n".join(f'{key.upper()} = "{escaped(value)}"' for key, value in values.items())
    read = Config.parse(f'.encoding = "UTF-8"\n{written}\n'.encode())
    assert {key: read.text(key) for key in values} == values


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    with suppress(VmferryError):
        vm(data)


@given(st.data())
def test_a_damaged_file(data: st.DataObject) -> None:
    text = bytearray(data.draw(st.sampled_from([WORKSTATION, ESXI])))
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(text)))
        text[start : start + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=12))
    with suppress(VmferryError):
        read = vm(bytes(text))
        assert VM.model_validate(read.to_dict()) == read
