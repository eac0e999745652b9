"""The words of a move, as frozen values: what a source has, what a target gets, what a job is.

Sizes are bytes, times are aware datetimes in UTC, MACs are lower case with colons. Models round-trip through JSON
(`model_dump(mode="json")`, `model_validate`), which is how they are stored and sent.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from app.domain.host import Host, WindowsTools
from app.domain.networks import Bandwidth
from app.domain.value import Value


class PowerState(StrEnum):
    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


class Transport(StrEnum):
    NFC = "nfc"  # an export lease: one compressed stream a disk, from its start
    HTTPS = "https"  # byte ranges of the datastore's files, over several connections
    NBD = "nbd"  # through nbdkit and one of its plugins
    FILE = "file"  # an OVA, OVF or VMX


class Concern(Value):
    """A preflight finding. A blocker stops the job before anything is touched."""

    code: str
    severity: Literal["blocker", "warning", "info"]
    cause: str
    remedy: str = ""


class Leftover(Value):
    """What an undo could not remove or restore, and the command that would."""

    what: str
    cause: str
    command: str


class Way(Value):
    """A transport, and what speaks for it or against it with a certain VM."""

    transport: Transport
    usable: bool
    reason: str


class Disk(Value):
    """One virtual disk of a source VM, in the order in which the guest sees it."""

    key: int  # the device's key on the source, unique in its VM
    label: str
    capacity_bytes: int = Field(ge=0)
    controller: str = "unknown"  # pvscsi | lsilogic | lsisas | buslogic | ahci | nvme | ide
    bus: int = 0
    unit: int = 0
    path: str = ""  # "[datastore] folder/name.vmdk"
    mode: str = "persistent"  # or independent_persistent, …
    backing: str = "flat"  # flat | sparse | rdm_virtual | rdm_physical | other
    sharing: str = "none"  # none | multi_writer | bus
    thin: bool | None = None
    encrypted: bool = False
    iops_limit: int | None = None  # operations a second, at most
    change_id: str = ""  # of the tracked content as it is, where changes are tracked


class Nic(Value):
    """One network card. `slot` is VMware's pciSlotNumber: the guest's udev calls the card ens<slot>."""

    key: int
    label: str
    mac: str
    network: str
    adapter: str = "unknown"  # vmxnet3 | e1000 | e1000e | …
    slot: int | None = None
    connected: bool = True
    vlan: int = 0  # of its port group: 0 for none or not known, 4095 for all
    mtu: int = 0  # of its switch; 0 where that is not known
    sends: Bandwidth | None = None  # at most
    receives: Bandwidth | None = None
    addresses: tuple[str, ...] = ()  # CIDR, as Tools reports them
    static: tuple[str, ...] = ()  # those of them that nobody gave the guest


class VM(Value):
    """A source VM: what the inventory lists, what preflight judges and what the hardware table maps."""

    id: str  # the managed object id, for example vm-42
    name: str  # as the user sees it, with the source's own escapes undone
    uuid: str  # BIOS UUID: becomes the domain's UUID
    instance_uuid: str = ""
    power_state: PowerState
    template: bool = False
    firmware: Literal["bios", "efi"] = "bios"
    secure_boot: bool = False
    tpm: bool = False
    encrypted: bool = False
    fault_tolerance: bool = False
    cpus: int = Field(default=1, ge=1)
    cores_per_socket: int = Field(default=1, ge=1)
    cpu_hot_add: bool = False  # whether CPUs can be added while it runs
    cpu_shares: int | None = None  # VMware's, of all its CPUs together; None for the normal 1000 a CPU
    cpu_limit_mhz: int | None = None  # of all its CPUs together
    memory_bytes: int = Field(ge=0)
    memory_limit_bytes: int | None = None  # what its host may give it of that
    memory_hot_add: bool = False
    cpu_reservation_mhz: int = 0
    memory_reservation_bytes: int = 0
    numa_nodes: int = Field(default=1, ge=1)  # that its guest sees
    cdroms: int = 0
    guest_id: str = ""  # VMware's, for example debian12_64Guest
    guest_name: str = ""
    hostname: str = ""
    tools: Literal["running", "not_running", "not_installed"] = "not_installed"
    routes: tuple[str, ...] = ()  # those through a gateway, as Tools reports them: "default via 192.0.2.1"
    dns: tuple[str, ...] = ()  # servers, as Tools reports them
    annotation: str = ""
    snapshots: tuple[str, ...] = ()
    change_tracking: bool = False
    passthrough: tuple[str, ...] = ()  # labels of PCI, vGPU and SR-IOV devices
    sound: bool = False
    left_behind: tuple[str, ...] = ()  # labels of devices that it will be without: floppy drives, ports, USB devices
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    host: str = ""
    host_mhz: int = 0  # of one of its host's cores; 0 where that is not known
    cluster: str = ""
    datacenter: str = ""
    folder: str = ""
    concerns: tuple[Concern, ...] = ()  # what its source finds worth telling before a move

    @property
    def disk_bytes(self) -> int:
        return sum(disk.capacity_bytes for disk in self.disks)


class Check(Value):
    """One thing looked at when a source, a target or this machine is checked."""

    name: str  # for example reachable, certificate, privileges, pool default
    ok: bool
    detail: str
    remedy: str = ""


class Pool(Value):
    name: str
    type: str  # libvirt's: dir, fs, netfs, logical, …
    path: str
    active: bool
    capacity_bytes: int
    free_bytes: int
    direct_io: bool = True  # whether its files can be read and written past the host's page cache


class Domain(Value):
    """A libvirt domain. `job` is the id in our metadata, empty for a domain that is not ours."""

    uuid: str
    name: str
    running: bool = False
    job: str = ""
    pinned: tuple[int, ...] = ()  # the host's CPUs that its own are pinned to
    hostdevs: tuple[str, ...] = ()  # the host's devices that it has, as app/domain/hostdevs.py writes them


class TargetFacts(Value):
    """What a worker saw of a target when it last looked; preflight and dry runs judge by it."""

    hypervisor: str = ""  # "QEMU 7.2.0, libvirt 9.0.0"
    accelerator: Literal["kvm", "tcg"] = "kvm"
    tpm: bool = False  # whether it can emulate one
    host: Host = Host()
    pools: tuple[Pool, ...] = ()
    networks: tuple[str, ...] = ()
    domains: tuple[Domain, ...] = ()
    tools: dict[str, str] = Field(default_factory=dict)  # virt-v2v-in-place → "2.2.0"
    windows: WindowsTools = WindowsTools()

    def pool(self, name: str) -> Pool | None:
        return next((pool for pool in self.pools if pool.name == name), None)


class Tls(Value):
    """How a source's certificate is trusted: the system's CAs, a CA bundle (PEM), a pinned leaf, or not at all."""

    ca_pem: str = ""
    thumbprint: str = ""  # SHA-256 or SHA-1 of the leaf, hex with or without colons
    insecure: bool = False


SourceKind = Literal["vcenter", "esxi", "ova", "vmx"]
FILE_KINDS = ("ova", "vmx")  # files, on the worker's machine or on a web server: nothing runs there


class SourceSpec(Value):
    """A registered source, with its secret in clear: made in memory only, by whoever opens the adapter."""

    id: str
    name: str
    kind: SourceKind
    host: str  # name or address, optionally :port; of ova and vmx the path, or the URL, of a file or folder
    username: str = ""
    password: str = Field(default="", repr=False)
    tls: Tls = Tls()


class ImageOptions(Value):
    """How a target's disk images are made."""

    format: Literal["qcow2", "raw"] = "qcow2"
    cluster_kib: Literal[4, 16, 32, 64, 128, 256, 512, 1024, 2048] = 64  # qcow2's unit of allocation
    preallocation: Literal["off", "metadata", "falloc", "full"] = "off"
    compressed: bool = False  # qcow2 only, and disks of whole clusters: smaller, slower to read
    discard: bool = True  # what the guest frees is given back to the storage


class TargetSpec(Value):
    """A registered target: a libvirt URI that is local to its worker, a pool, and source network → where to plug
    it in, as app/domain/networks.py reads it.
    """

    id: str
    name: str
    kind: Literal["libvirt"] = "libvirt"
    uri: str = "qemu:///system"
    pool: str = "default"
    image: ImageOptions = ImageOptions()
    networks: dict[str, str] = Field(default_factory=dict)  # "*" is the default
    username: str = ""
    password: str = Field(default="", repr=False)


class GuestFacts(Value):
    """Who a guest is, as somebody read it. None: that was not read."""

    hostname: str | None = None
    addresses: dict[str, tuple[str, ...]] | None = None  # MAC, or "" where that is not known → CIDR
    routes: tuple[str, ...] | None = None  # through a gateway: "default via 192.0.2.1"
    dns: tuple[str, ...] | None = None
    mounts: tuple[str, ...] | None = None  # mount points of disks
    services: tuple[str, ...] | None = None  # enabled units
    kernel: str | None = None
    machine_id: str | None = None
    static: tuple[str, ...] | None = None  # addresses that its network's configuration names


class GuestReport(Value):
    """What a converter found and did."""

    converter: str  # its name, and its version where it has one
    reason: str = ""  # why it was this one
    os: str = ""  # "debian12"
    hostname: str = ""
    nic_names: dict[str, str] = Field(default_factory=dict)  # MAC → interface name that was kept
    concerns: tuple[Concern, ...] = ()
    before: GuestFacts | None = None  # as its disks said before anything was changed


class Artefact(Value):
    """Something made, or about to be made, outside the database. `made` is False while it is only an intent."""

    kind: str  # volume | domain | lease | annotation | power
    name: str
    made: bool = False
    data: dict[str, Any] = Field(default_factory=dict)


class StepRecord(Value):
    name: str
    state: Literal["pending", "running", "paused", "succeeded", "failed", "skipped", "undone"] = "pending"
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: dict[str, Any] | None = None
    detail: str = ""  # one line for people: "2 disks, 812 MiB in 31 s"


class DiskProgress(Value):
    key: int
    label: str
    capacity_bytes: int
    bytes_done: int = 0  # guest bytes written
    bytes_skipped: int = 0  # guest bytes known to be zeros: neither sent nor written
    wire_bytes: int = 0  # bytes read from the network
    verified_bytes: int = 0


class Progress(Value):
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_skipped: int = 0
    wire_bytes: int = 0
    rate: float | None = None  # bytes a second over the last seconds, of done + skipped
    eta_s: float | None = None
