"""A plan: which VMs move when, in waves, and what is asked for each. Frozen values; times are aware, in UTC.

What happens to a plan while it runs is in app/domain/plan_*.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from app.domain.described import Described
from app.domain.move import MoveOptions
from app.domain.spelling import one_name
from app.domain.value import Value

YEARS = range(2000, 2200)  # that a plan's times are in


def _named(text: str) -> str:
    if not (name := one_name(text)):
        raise ValueError("a name is wanted")
    return name


WaveName = Annotated[
    str, StringConstraints(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(_named)
]
PlanName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f/?#%]+$")]


def _in_utc(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise ValueError(f"a moment of the years {YEARS[0]} to {YEARS[-1]} is wanted")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Gate(StrEnum):
    """What has to be before a wave starts, beside its time."""

    NONE = "none"
    MANUAL = "manual"  # somebody approves it
    ALL_GREEN = "all_green"  # every item of the waves before it has succeeded


class PlanState(StrEnum):
    DRAFT = "draft"  # nothing of it was started
    RUNNING = "running"  # items are started as waves, windows, gates and limits allow
    PAUSED = "paused"  # nothing new is started; what moves goes on to its end
    SUCCEEDED = "succeeded"  # every included item has succeeded
    FAILED = "failed"  # nothing is left to start, and something did not succeed
    UNDOING = "undoing"  # cancelled or rolled back by the user: what that undoes is under way
    CANCELLED = "cancelled"  # by the user: what moved was undone, what had succeeded and was not rolled back stays


class ItemState(StrEnum):
    """Those of its job, once it has one, and those before and instead of it."""

    LEFT_OUT = "left_out"  # the plan lists it, and does not move it
    WAITING = "waiting"  # for its wave, its time, what it depends on, or a free place
    HELD = "held"  # it will not be started, `Item.held` says why; a retry frees it
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # also one whose job was refused: `Item.error` says why
    CANCELLED = "cancelled"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"


class Wave(Value):
    """Waves run in the order in which a plan lists them. Without a limit or a time there is none."""

    name: WaveName
    starts_at: Moment | None = None  # nothing of it starts before
    ends_at: Moment | None = None  # nor after
    at_once: int | None = Field(default=None, ge=1, le=1000)  # how many of its items move at the same time
    stop_after: int | None = Field(default=None, ge=1, le=100000)  # failures of it that pause the plan; None: go on
    gate: Gate = Gate.NONE
    approved_at: Moment | None = None  # of a manual gate
    open_since: Moment | None = None  # it has begun, and goes on whatever becomes of the waves before it

    def as_planned(self) -> Wave:
        """Without what its run knows."""
        return self.model_copy(update={"approved_at": None, "open_since": None})

    def instead_of(self, old: Wave | None) -> Wave:
        """With what the run of the wave before it knows, unless its gate is another one."""
        if old is None or old.gate is not self.gate:
            return self.as_planned()
        return self.model_copy(update={"approved_at": old.approved_at, "open_since": old.open_since})


class Item(Value):
    """One VM of a plan, resolved. `options` says all that a job of it is submitted with.

    What an import says is above `job`; from there on it is the run's, and an import leaves it as it is.
    """

    key: str  # "<source's platform>:<vm id>": who it is, over all imports
    place: int  # its number in the plan, from 1, as it was imported
    include: bool = True
    wave: WaveName = "1"
    order: int = 0  # within its wave: lower ones start first
    source: str  # a registered source's name
    vm_id: str
    vm_name: str
    vm_uuid: str = ""
    target: str  # a registered target's name
    options: MoveOptions = MoveOptions()
    cutover_at: Moment | None = None  # cold: the source is not shut down, so nothing starts, before that
    group: str = ""  # items of one group start together, and roll back together when one fails
    depends_on: tuple[str, ...] = ()  # keys: they have to succeed before it starts
    owner: str = ""
    notes: str = ""
    bytes: int = 0  # of its disks, when it was planned
    job: str = ""  # the id of its newest job, "" until it was started
    unit: str = ""  # the same for all of a group that were started together
    held: str = ""  # why it will not be started, in words: what it depends on failed, the plan was cancelled
    error: dict[str, Any] | None = None  # its job was refused: {code, message, hint, …}
    again: int = 0  # the run of its job after which it shall be started again
    forgiven: int = 0  # the run of its job whose failure no longer counts for `stop_after`


class Plan(Value):
    """`version` counts changes of what is planned: it is the plan's ETag."""

    id: str
    name: PlanName
    description: str = ""
    state: PlanState = PlanState.DRAFT
    reason: str = ""  # in words: why it is paused, where that was not the user; what a running one waits for
    version: int = 1
    waves: tuple[Wave, ...] = ()
    created_at: Moment
    updated_at: Moment  # when what is planned was changed last
    started_at: Moment | None = None
    ended_at: Moment | None = None

    def wave(self, name: str) -> Wave | None:
        return next((wave for wave in self.waves if wave.name == name), None)


@dataclass(frozen=True)
class Wanted:
    """A row as somebody wrote it: nothing of it is looked up yet. `places`: field → where it stands, "Plan!I14" or
    "/items/3/pool"; "" → the row. None and "": not said.
    """

    include: bool = True
    wave: str = ""
    order: int | None = None
    source: str = ""  # a registered source's name or id
    vm_name: str = ""
    vm_id: str = ""
    vm_uuid: str = ""
    vcenter_uuid: str = ""  # the source platform's own, as RVTools' VI SDK UUID
    target: str = ""
    target_name: str = ""
    strategy: str = ""
    pool: str = ""
    format: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)
    keep_mac: bool | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    profile: str = ""
    cutover_at: datetime | None = None
    power_on: bool | None = None
    test_first: bool | None = None
    group: str = ""
    depends_on: tuple[str, ...] = ()  # VM ids, UUIDs or names
    owner: str = ""
    notes: str = ""
    described: Described | None = None  # what an inventory tool said of it
    places: Mapping[str, str] = field(default_factory=dict)

    def place(self, name: str = "") -> str:
        return self.places.get(name) or self.places.get("", "")


@dataclass(frozen=True)
class WantedPlan:
    """What a sheet or a document asks for. `kind`: plan | rvtools | names | azure_migrate | live_optics | document."""

    kind: str
    rows: tuple[Wanted, ...]
    waves: tuple[Wave, ...] = ()
    wave_places: Mapping[str, str] = field(default_factory=dict)  # "<wave>/<field>" → place
    problems: tuple[Problem, ...] = ()  # what could not be read


@dataclass(frozen=True)
class Problem:
    """Something wrong with what was asked for. An error keeps the plan from being stored; a warning does not."""

    place: str  # "Plan!I14", or a JSON pointer
    cause: str
    fix: str = ""
    severity: Literal["error", "warning"] = "error"
    code: str = "invalid_value"


Change = Literal["added", "changed", "unchanged", "locked", "missing"]


class Difference(Value):
    """What an import does to one item. `locked`: it was started and stays as it is. `missing`: only the plan has it."""

    key: str
    vm_name: str
    change: Change
    place: str = ""
    fields: dict[str, tuple[str, str]] = Field(default_factory=dict)  # changed ones: as they are → as they will be
