"""What a user asks for: one VM, one target, and how it shall be done."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from app.domain.hostdevs import parse_card
from app.domain.models import VM, ImageOptions, Nic, PowerState, TargetSpec, Transport
from app.domain.networks import LAST_VLAN, Attachment
from app.domain.networks import parse as parse_attachment
from app.domain.value import Value


class Strategy(StrEnum):
    COLD = "cold"  # the source is off while bytes move
    DISK_ONLY = "disk_only"  # no conversion, no boot: the disks and a domain that keeps SATA and e1000e


class ConverterName(StrEnum):
    VIRT_V2V = "virt-v2v"  # the reference
    NATIVE = "native"  # our own, for Linux
    COMPAT = "compat"  # the disks stay as they are, on SATA and e1000e, which need no drivers of virtio


class Profile(StrEnum):
    """What a moved VM's hardware is tuned for."""

    BALANCED = "balanced"
    LATENCY = "latency"  # CPUs and memory of its own
    DENSITY = "density"  # what it does not use is for others


class OnFailure(StrEnum):
    ROLLBACK = "rollback"  # the source runs again as it did, nothing of ours stays
    HOLD = "hold"  # the verified copy is kept and the source stays off; a retry goes on from there


class MoveOptions(Value):
    """What a user may say about one move, besides what moves from where to where."""

    strategy: Strategy = Strategy.COLD
    on_failure: OnFailure = OnFailure.ROLLBACK
    target_name: str = ""  # empty: the VM's own name
    pool: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f/]*$")] = ""  # empty: the target's
    format: Literal["", "qcow2", "raw"] = ""  # empty: the target's
    cpus: int | None = Field(default=None, ge=1, le=4096)  # None: as many as it has
    memory_bytes: int | None = Field(default=None, ge=4 << 20, le=64 << 40, multiple_of=1 << 20)  # None: what it has
    networks: dict[str, str] = Field(default_factory=dict)  # over the target's own map
    leave_tpm: bool = False  # what a virtual TPM keeps is not needed: BitLocker is suspended, LUKS has another key
    force_power_off: bool = False  # allows a hard power-off where Tools cannot shut the guest down
    power_on: bool | None = None  # None: as the source was
    transport: Transport | None = None  # None: the best that works
    converter: ConverterName | None = None  # None: the best for the guest, which is never compat
    hostdevs: dict[str, str] = Field(default_factory=dict)  # label of a device of its host → one of the target's
    profile: Profile = Profile.BALANCED
    second_read: Literal["none", "sample", "all"] = "none"  # read the source again, over another connection
    shutdown_timeout_s: int = Field(default=600, ge=10, le=86400)
    boot_timeout_s: int = Field(default=600, ge=10, le=86400)
    boot_network: Literal["isolated", "real"] = "isolated"  # where it is until its boot check has passed
    boot_port: int | None = Field(default=None, ge=1, le=65535)  # TCP, has to answer when all is done

    def for_target(self, target: TargetSpec) -> TargetSpec:
        """A target as this move uses it."""
        changes: dict[str, object] = {"pool": self.pool} if self.pool else {}
        if self.format and self.format != target.image.format:
            changes["image"] = _as_format(target.image, self.format)
        return target.model_copy(update=changes) if changes else target

    def for_vm(self, vm: VM) -> VM:
        """A VM as it shall be on the target. What it was granted for all its CPUs or memory goes with their number."""
        changes: dict[str, object] = {}
        if self.cpus is not None:
            changes["cpus"] = self.cpus
            changes["cpu_shares"] = vm.cpu_shares and max(1, vm.cpu_shares * self.cpus // vm.cpus)
        if self.memory_bytes is not None:
            changes["memory_bytes"] = self.memory_bytes
            if vm.memory_reservation_bytes >= vm.memory_bytes > 0:
                changes["memory_reservation_bytes"] = self.memory_bytes
        return vm.model_copy(update=changes) if changes else vm


def _as_format(image: ImageOptions, wanted: Literal["qcow2", "raw"]) -> ImageOptions:
    """What only qcow2 has is left out of raw."""
    changes: dict[str, object] = {"format": wanted}
    if wanted == "raw":
        plain = ImageOptions()
        changes |= {"cluster_kib": plain.cluster_kib, "compressed": plain.compressed}
        if image.preallocation == "metadata":
            changes["preallocation"] = "off"
    return image.model_copy(update=changes)


class Reservation(Value):
    """What an unfinished job will still write to a pool, at most."""

    job: str
    vm: str
    bytes: int


class Move(Value):
    """One VM, one target, the options: what preflight judges and what the hardware table maps.

    Made by `of`, both are as the options want them.
    """

    job_id: str
    vm: VM
    target: TargetSpec
    options: MoveOptions = MoveOptions()
    reserved: tuple[Reservation, ...] = ()  # what other jobs will still write to the target's pool

    @classmethod
    def of(
        cls, job_id: str, vm: VM, target: TargetSpec, options: MoveOptions, reserved: Iterable[Reservation] = ()
    ) -> Self:
        return cls(
            job_id=job_id,
            vm=options.for_vm(vm),
            target=options.for_target(target),
            options=options,
            reserved=tuple(reserved),
        )

    @property
    def domain_name(self) -> str:
        return self.options.target_name or self.vm.name

    @property
    def boots(self) -> bool:
        """Whether it can be expected to run on the target."""
        return self.options.strategy is not Strategy.DISK_ONLY

    @property
    def converts(self) -> bool:
        """Whether the guest gets virtio, and is changed for that."""
        return self.boots and self.options.converter is not ConverterName.COMPAT

    def attachment_for(self, nic: Nic) -> Attachment | None:
        """Where a NIC is plugged in: the job's map first, then the target's; "*" stands for any network. For a card of
        its host's the job may name one of the target's.

        Raises InvalidRequest for what is none.
        """
        if nic.label in self.options.hostdevs and (card := parse_card(self.options.hostdevs[nic.label])):
            return Attachment(kind="hostdev", name=card, vlan=nic.vlan if 0 < nic.vlan <= LAST_VLAN else None)
        for table in (self.options.networks, self.target.networks):
            for key in (nic.network, "*"):
                if key in table:
                    return parse_attachment(table[key])
        return None

    def volume_prefix(self) -> str:
        """Every volume of a job begins with this; nothing else in the pool does."""
        return f"vmferry-{self.job_id}-"

    def volume_name(self, index: int) -> str:
        return f"{self.volume_prefix()}{index}.{self.target.image.format}"

    def runs_after(self) -> bool:
        """Whether the target shall run when all is done: a source that was off stays off, unless asked."""
        wanted = self.options.power_on
        return self.boots and (self.vm.power_state is PowerState.ON if wanted is None else wanted)
