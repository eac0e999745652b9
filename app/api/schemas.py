"""What the API takes and gives, beside the domain's own values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.domain.boot import Boot
from app.domain.job import Pause
from app.domain.limits import Limit, ScopedLimit
from app.domain.models import (
    VM,
    Artefact,
    Concern,
    Disk,
    DiskProgress,
    GuestReport,
    ImageOptions,
    Leftover,
    Progress,
    SourceKind,
    StepRecord,
    Tls,
    Transport,
)
from app.domain.move import ConverterName, MoveOptions, Strategy
from app.domain.states import JobState
from app.domain.value import Value
from app.services.assessments import Pace, PlannedHardware, Verdict

T = TypeVar("T")


def _one_line(key: SecretStr) -> SecretStr:
    if not key.get_secret_value().isprintable():
        raise ValueError("a key is one line of text")
    return key


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/]+$")]
Ref = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Username = Annotated[str, StringConstraints(max_length=200)]
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
LuksDevice = Annotated[str, StringConstraints(max_length=200, pattern=rf"^(all|/dev/[A-Za-z0-9_.+/-]+|{_UUID})$")]
LuksKey = Annotated[SecretStr, Field(min_length=1, max_length=1000), AfterValidator(_one_line)]
Networks = Annotated[dict[Ref, Name], Field(max_length=1000)]


class Ours(BaseModel):
    """A request's body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Named(Value):
    id: str
    name: str


class NewCredential(Ours):
    name: Name
    username: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    password: SecretStr = Field(min_length=1, max_length=1000)


class NewPassword(Ours):
    password: SecretStr = Field(min_length=1, max_length=1000)


class NewSource(Ours):
    """With the id or name of a credential, or with a username and a password.

    `host` of an ova or vmx is an absolute path on the worker's machine, or a URL; only a URL may need a login.
    """

    name: Name
    kind: SourceKind = "vcenter"
    host: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    credential: str = ""
    username: Username = ""
    password: SecretStr = Field(default=SecretStr(""), max_length=1000)
    tls: Tls = Tls()


class NewTarget(Ours):
    """`networks`: source network → NAME of a libvirt network, bridge:NAME, ovs:NAME, ovs:NAME@VLAN or macvtap:DEVICE;
    as the source network "*" stands for any.
    """

    name: Name
    kind: Literal["libvirt"] = "libvirt"
    uri: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "qemu:///system"
    pool: Name = "default"
    image: ImageOptions = ImageOptions()
    networks: Networks = Field(default_factory=dict)
    credential: str = ""


class NewToken(Ours):
    name: Name


class NewJob(Ours):
    """`source`, `vm` and `target` by id or name; the target may be left out when there is one only.

    `limit`: as PUT /v1/limits/jobs/{id} would set it. `luks_keys`: device (/dev/sda2, as libguestfs counts) or LUKS
    UUID → key of an encrypted disk; "all" is for any other. They are sealed, never shown, and removed at its end.
    """

    source: Ref
    vm: Ref
    target: Annotated[str, StringConstraints(max_length=500)] = ""
    options: MoveOptions = MoveOptions()
    limit: Limit | None = None
    luks_keys: Annotated[dict[LuksDevice, LuksKey], Field(max_length=64)] = Field(default_factory=dict)


class LimitOut(ScopedLimit):
    """`rate_now`: bytes a second that it allows at this moment, null for no limit; `job` has its VM's name."""

    source: Named | None
    job: Named | None
    rate_now: int | None


class Rollback(Ours):
    confirm_data_loss: bool = False


class MadeToken(Value):
    """The only time that the token's text is shown."""

    id: str
    name: str
    created_at: datetime
    token: str


class PageOf(Value, Generic[T]):
    items: list[T]
    next_cursor: str | None = None


class InventoryVM(VM):
    source: Named
    seen_at: datetime


class AssessmentOut(Value):
    """`converter` is null where the choice is the user's. `transport` is what a move tries first. `seconds` is what
    `pace` makes of `disk_bytes`.
    """

    vm: Named
    source: Named
    verdict: Verdict
    concerns: list[Concern]
    strategy: Strategy
    transport: Transport
    transport_reason: str
    converter: ConverterName | None
    reason: str
    hardware: PlannedHardware
    disk_bytes: int
    seconds: float
    pace: Pace


class StepOut(StepRecord):
    seconds: float | None = None


class DiskOut(DiskProgress):
    """`links` has the manifest once the disk was copied: its size, and a hash of each MiB that is not all zeros."""

    links: dict[str, str]


class JobOut(Value):
    id: str
    run: int
    purpose: Literal["move", "rollback"]
    vm: Named
    source: Named
    target: Named
    strategy: Strategy
    options: MoveOptions
    state: JobState
    phase: str
    stop_requested: bool
    pause: Pause | None
    progress: Progress
    steps: list[StepOut]
    disks: tuple[DiskProgress, ...]
    concerns: tuple[Concern, ...]
    next_action: str
    error: dict[str, Any] | None
    domain_uuid: str
    guest: GuestReport | None
    boot: Boot | None
    artefacts: tuple[Artefact, ...]
    leftovers: tuple[Leftover, ...]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    links: dict[str, str | list[str]]


class DryRunOut(Value):
    """What a job would do; nothing was done."""

    concerns: list[Concern]
    disks: tuple[Disk, ...]
    bytes_total: int
    domain_xml: str
    steps: tuple[str, ...]


class Health(Value):
    status: Literal["ok", "unavailable"]
    detail: str = ""
