"""What the vSphere source and preflight find, each with a VM of the lab that raises it."""

from __future__ import annotations

from typing import Any

from tests.concerns.entry import OnVsphere
from tests.functional.api import GIB
from tests.lab.specs import DiskSpec, NicSpec, VmSpec

UUID = "4200c1d2-0000-4000-8000-00000000002a"
WINDOWS = {"guest_id": "windows2019srv_64Guest"}
OFF = ("boot_not_checked",)


def vm(size_gib: float = 1, *, disk: dict[str, Any] | None = None, **fields: Any) -> VmSpec:
    """An ordinary VM: it runs Debian 12 with VMware Tools, with a disk and a card, and raises no concern."""
    fields = {"disks": [DiskSpec(size_mib=int(size_gib * 1024), **disk or {})], "hostname": "web"} | fields
    return VmSpec("web", **fields)


def windows(**changes: Any) -> dict[str, Any]:
    """A worker with all that Windows Server 2019 needs, and these differences."""
    at_hand = {"drivers": ("2k19/amd64",), "agents": ("amd64",), "runner": True}
    tools = {"virt-v2v-in-place": "2.2.0", "virtio-win": "/usr/share/virtio-win"}
    return {"tools": tools, "windows": at_hand | changes}


def pool(**changes: Any) -> dict[str, Any]:
    fields = {"name": "default", "type": "dir", "path": "/pool", "active": True}
    return {"pools": [{**fields, "capacity_bytes": 100 * GIB, "free_bytes": 50 * GIB, **changes}]}


def domain(**fields: Any) -> dict[str, Any]:
    return {"domains": [{"uuid": "4200c1d2-1111-4000-8000-000000000001", "name": "other"} | fields]}


ENTRIES = (
    OnVsphere("vm_is_template", "a template", vm(template=True, on=False), also=OFF),
    OnVsphere("vm_is_suspended", "a VM that is suspended", vm(suspended=True), also=OFF),
    OnVsphere("vm_is_not_connected", "a VM of a host that is away", vm(connection="disconnected")),
    OnVsphere("vm_is_not_connected", "a VM whose datastore is away", vm(connection="inaccessible")),
    OnVsphere("vm_is_not_connected", "a VM that no host has any more", vm(connection="orphaned")),
    OnVsphere("vm_is_not_connected", "a VM with a .vmx that cannot be read", vm(connection="invalid")),
    OnVsphere("tools_not_running", "a VM that is on, without VMware Tools", vm(tools=False)),
    OnVsphere(
        "power_off_is_hard",
        "a VM that is on, without VMware Tools, and `force_power_off`",
        vm(tools=False),
        options={"force_power_off": True},
    ),
    OnVsphere("vm_has_no_disks", "a VM without a disk", vm(disks=[])),
    OnVsphere("disk_is_rdm", "a raw device mapping, in virtual mode", vm(disk={"backing": "rdm_virtual"})),
    OnVsphere("disk_is_rdm", "a raw device mapping, in physical mode", vm(disk={"backing": "rdm_physical"})),
    OnVsphere("disk_backing_unknown", "a disk in persistent memory", vm(disk={"backing": "pmem"})),
    OnVsphere("disk_is_independent", "an independent disk", vm(disk={"mode": "independent_persistent"})),
    OnVsphere(
        "disk_is_independent",
        "an independent disk that forgets what is written",
        vm(disk={"mode": "independent_nonpersistent"}),
    ),
    OnVsphere("disk_is_shared", "a disk with the multi-writer flag", vm(disk={"multi_writer": True})),
    OnVsphere("disk_is_shared", "a controller whose bus is shared", vm(shared_bus=True)),
    OnVsphere("disk_is_encrypted", "a disk that vSphere encrypts", vm(disk={"encrypted": True})),
    OnVsphere("vm_is_encrypted", "a VM whose files vSphere encrypts", vm(encrypted=True)),
    OnVsphere("tpm_may_hold_keys", "a virtual TPM, to a host with swtpm", vm(tpm=True), facts={"tpm": True}),
    OnVsphere("tpm_may_hold_keys", "a virtual TPM, to a host without swtpm", vm(tpm=True)),
    OnVsphere(
        "tpm_is_left_behind",
        "a virtual TPM that nothing depends on, as its owner says",
        vm(tpm=True),
        options={"leave_tpm": True},
    ),
    OnVsphere("fault_tolerance_is_on", "a VM with Fault Tolerance", vm(fault_tolerance=True)),
    OnVsphere("passthrough_device", "a PCI device of the host", vm(passthrough=("pci",))),
    OnVsphere("passthrough_device", "a share of a GPU (vGPU)", vm(passthrough=("vgpu",))),
    OnVsphere("passthrough_device", "a network card with SR-IOV", vm(nics=[NicSpec(adapter="sriov")])),
    OnVsphere("snapshots_are_flattened", "a VM with snapshots", vm(1 / 1024, snapshots=2)),
    OnVsphere("boot_not_checked", "a VM that is off", vm(on=False)),
    OnVsphere("boot_not_checked", "the strategy disk_only", vm(), options={"strategy": "disk_only"}),
    OnVsphere(
        "domain_name_invalid",
        "a name that libvirt's tools take for something else",
        vm(),
        options={"target_name": ".."},
    ),
    OnVsphere("domain_exists", "a name that the target has", vm(), facts=domain(name="web")),
    OnVsphere("domain_uuid_exists", "a UUID that the target has", vm(uuid=UUID), facts=domain(uuid=UUID)),
    OnVsphere("pool_missing", "a target without its pool", vm(), facts=pool(name="ssd")),
    OnVsphere("pool_unknown", "a pool that is asked for and is not there", vm(), options={"pool": "ssd"}),
    OnVsphere("pool_type_unsupported", "a pool of logical volumes", vm(), facts=pool(type="logical")),
    OnVsphere("pool_inactive", "a pool that is stopped", vm(), facts=pool(active=False)),
    OnVsphere("pool_full", "a pool without room", vm(20), facts=pool(free_bytes=GIB)),
    OnVsphere("pool_may_fill_up", "a pool with room for less than all", vm(20), facts=pool(free_bytes=5 * GIB)),
    OnVsphere(
        "pool_is_reserved",
        "a pool whose room other jobs will take",
        vm(20),
        facts=pool(free_bytes=21 * GIB),
        waiting=vm(20),
    ),
    OnVsphere("network_not_mapped", "a network that is not mapped", vm(), target={"networks": {}}),
    OnVsphere("network_missing", "a network that is mapped to none", vm(), target={"networks": {"*": "lan"}}),
    OnVsphere(
        "converter_missing",
        "a guest for virt-v2v, and a worker without",
        vm(),
        options={"converter": "virt-v2v"},
        facts={"tools": {}},
    ),
    OnVsphere(
        "native_is_better",
        "a guest for which virt-v2v is too old, and virt-v2v asked for",
        vm(firmware="efi"),
        options={"converter": "virt-v2v"},
    ),
    OnVsphere("compat_hardware", "the converter compat", vm(), options={"converter": "compat"}),
    OnVsphere("guest_needs_compat", "a guest that no converter changes", vm(guest_id="freebsd13_64Guest")),
    OnVsphere("guest_may_not_convert", "a guest that virt-v2v may not know", vm(guest_id="otherLinux64Guest")),
    OnVsphere(
        "native_is_for_linux", "a Windows guest, and native asked for", vm(**WINDOWS), options={"converter": "native"}
    ),
    OnVsphere("virtio_win_missing", "a Windows guest, and a worker without virtio-win", vm(**WINDOWS)),
    OnVsphere(
        "virtio_win_lacks_guest",
        "Windows, and a virtio-win for others",
        vm(**WINDOWS),
        facts=windows(drivers=("w10/amd64", "2k19/x86")),
    ),
    OnVsphere(
        "windows_runner_missing",
        "Windows, and a worker without rhsrvany.exe",
        vm(**WINDOWS),
        facts=windows(runner=False),
    ),
    OnVsphere(
        "windows_agent_missing",
        "Windows, and a virtio-win without the guest agent",
        vm(**WINDOWS),
        facts=windows(agents=()),
    ),
    OnVsphere(
        "windows_disks_need_newer_virt_v2v",
        "Windows with more than 16 disks, for virt-v2v before 2.4",
        vm(**WINDOWS, disks=[DiskSpec(size_mib=1)] * 17),
        facts=windows(),
    ),
)
