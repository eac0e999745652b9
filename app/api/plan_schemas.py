"""What the API takes and gives of plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from app.api.schemas import Name, Named, Ours, Ref
from app.domain.boot import Boot
from app.domain.models import DiskProgress, Progress
from app.domain.plan import Difference, Gate, Item, ItemState, Moment, PlanState, Wanted, WantedPlan, Wave, WaveName
from app.domain.spelling import one_name
from app.domain.states import JobState
from app.domain.value import Value
from app.services.plan_standing import WaveState
from app.services.planning.report import PoolForecast, WaveForecast

Text = Annotated[str, StringConstraints(max_length=500)]
Word = Annotated[str, StringConstraints(max_length=100)]
Spelt = AfterValidator(one_name)  # as it would be in a sheet: an export of it can be imported
Whole = Annotated[int, Field(ge=-(1 << 53), le=1 << 53)]


class Pointers(Mapping[str, str]):
    """field → its JSON pointer, for all fields of an object at `here`; made when asked for."""

    def __init__(self, here: str, fields: frozenset[str]) -> None:
        self._here = here
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        if name not in self._fields:
            raise KeyError(name)
        return f"{self._here}/{name}" if name else self._here

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class PlanRow(Ours):
    """One VM, and what is asked for it: as a row of a sheet. Null and "": not said.

    The VM is known by its id, else its UUID, else a name that only it has; `depends_on` has ids, UUIDs or names.
    """

    include: bool = True
    wave: Annotated[str, StringConstraints(max_length=60), Spelt] = ""
    order: Whole | None = None
    source: Annotated[Text, Spelt] = ""
    vm_name: Text = ""
    vm_id: Word = ""
    vm_uuid: Word = ""
    target: Annotated[Text, Spelt] = ""
    target_name: Annotated[Text, Spelt] = ""
    strategy: Word = ""
    pool: Annotated[Text, Spelt] = ""
    format: Word = ""
    networks: Annotated[dict[Ref, Name], Field(max_length=100)] = Field(default_factory=dict)
    keep_mac: bool | None = None
    cpus: Whole | None = None
    memory_bytes: Whole | None = None
    profile: Word = ""
    cutover_at: Moment | None = None
    power_on: bool | None = None
    test_first: bool | None = None
    group: Annotated[Word, Spelt] = ""
    depends_on: Annotated[list[Ref], Field(max_length=100)] = Field(default_factory=list)
    owner: Text = ""
    notes: Annotated[str, StringConstraints(max_length=10_000)] = ""

    def wanted(self, number: int) -> Wanted:
        values = dict(self) | {"depends_on": tuple(self.depends_on)}
        return Wanted(**values, places=Pointers(f"/items/{number}", _ROW_FIELDS))


class PlanDocument(Ours):
    """All of a plan. What it does not say is not kept: with PUT, the plan becomes what the document says.

    Its items that the document has not stay, unless `remove_missing` is asked for.
    """

    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    waves: Annotated[list[Wave], Field(max_length=1000)] = Field(default_factory=list)
    items: Annotated[list[PlanRow], Field(max_length=20_000)]

    def wanted(self) -> WantedPlan:
        places = {
            f"{wave.name}/{field}": f"/waves/{number}/{field}"
            for number, wave in enumerate(self.waves)
            for field in Wave.model_fields
        }
        return WantedPlan(
            "document", tuple(row.wanted(n) for n, row in enumerate(self.items)), tuple(self.waves), places
        )


_ROW_FIELDS = frozenset({"", *PlanRow.model_fields})


class Finding(Value):
    """Something wrong: in which cell, or at which JSON pointer. An error keeps the plan from being stored."""

    place: str
    severity: Literal["error", "warning"]
    code: str
    cause: str
    fix: str


class ImportOut(Value):
    """What an import does, or with `dry_run` would do. `vms`, `bytes` and `seconds` are of what is still to move.

    `version` is the plan's after it; 0 where there is none yet.
    """

    plan: str
    kind: str
    rows: int
    problems: list[Finding]
    differences: tuple[Difference, ...]
    vms: int
    bytes: int
    seconds: float
    waves: tuple[WaveForecast, ...]
    pools: tuple[PoolForecast, ...]
    version: int


class WaveOut(Value):
    """A wave, and where it stands. `began_at` and `was_over_at`: of its first job, and when all of it was over."""

    name: str
    starts_at: datetime | None
    ends_at: datetime | None
    at_once: int | None
    stop_after: int | None
    gate: Gate
    approved_at: datetime | None
    open_since: datetime | None
    state: WaveState
    counts: dict[ItemState, int]
    bytes_done: int
    bytes_total: int
    bytes_skipped: int
    began_at: datetime | None
    was_over_at: datetime | None


class PlanOut(Value):
    """`rate` is in bytes a second; `eta_s` is for what is left to copy. `would_start`: only of a dry run."""

    id: str
    name: str
    description: str
    state: PlanState
    reason: str
    version: int
    counts: dict[ItemState, int]
    bytes_done: int
    bytes_total: int
    bytes_skipped: int
    rate: float | None
    eta_s: float | None
    next_cutover_at: datetime | None
    needs_human: tuple[str, ...]
    next_action: str
    waves: list[WaveOut]
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    would_start: list[Named] | None = None
    links: dict[str, str]


class ItemJobOut(Value):
    """The newest job of an item, in short: all of it is at GET /v1/jobs/{id}."""

    id: str
    run: int
    state: JobState
    phase: str
    progress: Progress
    disks: tuple[DiskProgress, ...]
    boot: Boot | None
    error: dict[str, Any] | None
    domain_uuid: str
    started_at: datetime | None
    ended_at: datetime | None
    downtime_s: float | None


class ItemOut(Item):
    """An item and where it stands. `downtime_s`: from the source's shutdown to the guest seen up."""

    job: ItemJobOut | None  # type: ignore[assignment]
    state: ItemState
    next_action: str
    links: dict[str, str]


class Retry(Ours):
    """Only these items, by their keys; none: all that failed, was cancelled or is held."""

    items: Annotated[list[Ref], Field(max_length=20_000)] = Field(default_factory=list)


class PlanRollback(Ours):
    """Only this wave, or these items; neither: the whole plan. For what had succeeded, the loss must be confirmed."""

    wave: Annotated[str, StringConstraints(max_length=60)] = ""
    items: Annotated[list[Ref], Field(max_length=20_000)] = Field(default_factory=list)
    confirm_data_loss: bool = False


class Approval(Ours):
    wave: WaveName
