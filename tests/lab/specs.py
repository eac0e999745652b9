"""What a VM of the lab is made of."""

import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 64 << 10
TEXT = b"The quick brown fox jumps over the lazy dog. " * (CHUNK // 45 + 1)


@dataclass(frozen=True)
class DiskSpec:
    """A disk: a copy of an image, or size_mib with fill_mib of data spread over it, the same for the same seed.

    format belongs to source: raw or qcow2. mode is VMware's disk mode, for example independent_persistent. bus is the
    number of its PVSCSI controller.
    thin is what vSphere says of it; on this machine every disk is sparse. backing: flat, rdm_virtual, rdm_physical or
    pmem; only a flat disk can be read, and only one that is neither encrypted nor shared is meant to be.
    """

    source: Path | None = None
    format: str = "raw"
    size_mib: int | None = None
    fill_mib: int = 0
    seed: int = 0
    mode: str = "persistent"
    thin: bool = True
    bus: int = 0
    backing: str = "flat"
    multi_writer: bool = False
    encrypted: bool = False

    def make(self, path: Path) -> None:
        """Write the disk's content to a new raw file."""
        if self.source is not None and self.format == "raw":
            argv = ["cp", "--sparse=always", "--reflink=auto", "--", str(self.source), str(path)]
        elif self.source is not None:
            argv = ["qemu-img", "convert", "-f", self.format, "-O", "raw", str(self.source), str(path)]
        else:
            self._fill(path)
            return
        subprocess.run(argv, check=True, capture_output=True)

    def _fill(self, path: Path) -> None:
        """Every second chunk is random, the others are text: as compressible as a system disk."""
        size = (self.size_mib or 0) << 20
        chunks = (self.fill_mib << 20) // CHUNK
        numbers = random.Random(self.seed)
        with path.open("wb") as file:
            file.truncate(size)
            for i in range(chunks):
                file.seek(i * (size // CHUNK) // chunks * CHUNK)
                file.write(numbers.randbytes(CHUNK) if i % 2 else TEXT[i % 45 :][:CHUNK])


@dataclass(frozen=True)
class NicSpec:
    """A network card. ip with prefix is what Tools reports of it; a network that is missing is made, in its vlan."""

    network: str = "VM Network"
    mac: str | None = None
    slot: int = 192
    ip: str | None = None
    prefix: int = 24
    adapter: str = "vmxnet3"
    vlan: int = 0


@dataclass(frozen=True)
class VmSpec:
    """A VM. shutdown: "ok", or "hangs" for a guest that ignores a shutdown. guest_id is VMware's. folder is the one in
    the datastore, which also names its files. What begins with shared_bus is shown of the VM, and changes nothing that
    it does; passthrough names devices of its host: pci or vgpu; connection is vCenter's to the VM.
    """

    name: str
    disks: list[DiskSpec]
    nics: list[NicSpec] = field(default_factory=lambda: [NicSpec()])
    on: bool = True
    tools: bool = True
    hostname: str | None = None
    guest_id: str = "debian12_64Guest"
    firmware: str = "bios"
    cpus: int = 2
    memory_mib: int = 1024
    annotation: str = ""
    shutdown: str = "ok"
    snapshots: int = 0
    change_tracking: bool = False
    cpu_hot_add: bool = False
    cpu_shares: int = 0  # 0: normal
    cpu_limit_mhz: int = 0  # 0: none
    memory_limit_mib: int = 0  # 0: none
    memory_hot_add: bool = False
    cpu_reservation_mhz: int = 0
    memory_reservation_mib: int = 0
    folder: str = ""
    shared_bus: bool = False
    encrypted: bool = False
    fault_tolerance: bool = False
    suspended: bool = False
    template: bool = False
    tpm: bool = False
    floppy: bool = False
    passthrough: tuple[str, ...] = ()
    uuid: str = ""
    connection: str = "connected"
