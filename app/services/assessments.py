"""How each VM of an inventory would move, before anyone asks for it: judged by what is stored, nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from app import preflight
from app.domain.conversion import Choice, converters_for
from app.domain.errors import InvalidRequest
from app.domain.hardware import hardware_for
from app.domain.job import Job
from app.domain.models import Concern, Nic, SourceKind, TargetFacts, Way
from app.domain.move import Move, MoveOptions, Reservation
from app.domain.registered import ListedVM, RegisteredTarget
from app.domain.space import reservations
from app.domain.states import JobState
from app.domain.value import Value
from app.domain.ways import likely_way
from app.preflight.converter import version
from app.services.moves import facts_of, planned
from app.store.paging import Page, PageRequest
from app.store.store import Store

Verdict = Literal["ready", "with_warnings", "blocked"]

BYTES_A_SECOND = 100 << 20  # of a disk's size, where nothing was moved yet: what a wire of 1 Gb/s carries
REST_S = 180.0  # for all but the copy, where nothing was moved yet
LOOKED_BACK = 50  # jobs that the estimate is made from


class PlannedHardware(Value):
    """`networks`: where each card is plugged in, in their order; "" for nowhere yet."""

    machine: str
    firmware: Literal["bios", "efi"]
    secure_boot: bool
    tpm: bool
    cpus: int
    memory_bytes: int
    disks: int
    disk_bus: str
    nics: int
    nic_model: str
    networks: tuple[str, ...]


class Pace(Value):
    """What an estimate stands on: the medians of `moves` to the same target, or with none of them an assumption."""

    bytes_a_second: float
    rest_s: float
    moves: int


class Assessment(NamedTuple):
    """`choice` is None where only the user can choose a converter; `seconds` is an estimate."""

    listed: ListedVM
    verdict: Verdict
    concerns: list[Concern]
    options: MoveOptions
    way: Way
    choice: Choice | None
    hardware: PlannedHardware
    seconds: float
    pace: Pace


@dataclass(frozen=True)
class Circumstances:
    """All that does not differ from VM to VM."""

    kind: SourceKind
    to: RegisteredTarget
    facts: TargetFacts
    reserved: tuple[Reservation, ...]
    pace: Pace


class Assessments:
    def __init__(self, store: Store) -> None:
        self._store = store

    def list(
        self,
        request: PageRequest,
        *,
        source: str,
        target: str,
        name: str = "",
        text: str = "",
        verdict: Verdict | None = None,
        concern: str = "",
    ) -> Page[Assessment]:
        """`source` and `target` by id or name; no target means the only one. `text` is a part of the name, `concern` a
        code.

        Raises NotFound, Conflict, InvalidRequest.
        """
        from_ = self._store.sources.get(source)
        to = self._store.targets.get(target) if target else self._store.targets.only()
        circumstances = Circumstances(
            kind=from_.kind,
            to=to,
            facts=facts_of(to),
            reserved=tuple(reservations(self._store.requests.sharing_pool(to.id))),
            pace=self.pace(to),
        )
        found: list[Assessment] = []
        cursor: str | None = request.cursor
        while cursor is not None and len(found) < request.limit:  # a filter may leave little of what is read
            rest = PageRequest(request.limit - len(found), cursor, request.sort)
            listed = self._store.inventory.list(rest, source=from_.id, name=name, text=text)
            judged = (assess(item, circumstances) for item in listed.items)
            found += [item for item in judged if _wanted(item, verdict, concern)]
            cursor = listed.next
        return Page(found, cursor)

    def pace(self, to: RegisteredTarget) -> Pace:
        """Of moves to this target so far."""
        recent = PageRequest(LOOKED_BACK, sort="-created_at")
        return pace_of(self._store.requests.list(recent, states=[JobState.SUCCEEDED], target=to.id).items)


def assess(listed: ListedVM, given: Circumstances) -> Assessment:
    vm, options = listed.vm, MoveOptions()
    move = planned("assessment", vm, given.to, options, given.reserved)
    concerns = preflight.run(move, given.facts)
    severities = {concern.severity for concern in concerns}
    choices = converters_for(vm, options.converter, version(given.facts))
    return Assessment(
        listed=listed,
        verdict="blocked" if "blocker" in severities else "with_warnings" if "warning" in severities else "ready",
        concerns=concerns,
        options=options,
        way=likely_way(given.kind, vm),
        choice=choices[0] if choices else None,
        hardware=hardware_of(move, given.facts),
        seconds=vm.disk_bytes / given.pace.bytes_a_second + given.pace.rest_s,
        pace=given.pace,
    )


def hardware_of(move: Move, facts: TargetFacts) -> PlannedHardware:
    """In short, and whatever else is in its way: a card that is plugged in nowhere is there, too."""
    options = move.options.model_copy(update={"networks": {"*": "any"}})
    hardware = hardware_for(
        move.model_copy(update={"options": options}),
        disk_paths=[""] * len(move.vm.disks),
        domain_uuid=move.vm.uuid,
        accelerator=facts.accelerator,
        has_tpm=facts.tpm,
    )
    return PlannedHardware(
        machine=hardware.machine,
        firmware=hardware.firmware,
        secure_boot=hardware.secure_boot,
        tpm=hardware.tpm,
        cpus=hardware.cpus,
        memory_bytes=hardware.memory_bytes,
        disks=len(hardware.disks),
        disk_bus=hardware.disks[0].bus if hardware.disks else "",
        nics=len(hardware.nics),
        nic_model=hardware.nics[0].model if hardware.nics else "",
        networks=tuple(_plugged_into(move, nic) for nic in move.vm.nics),
    )


def _plugged_into(move: Move, nic: Nic) -> str:
    try:
        return str(move.attachment_for(nic) or "")
    except InvalidRequest:  # which the concerns tell about
        return ""


def pace_of(jobs: list[Job]) -> Pace:
    """The medians of moves that succeeded: bytes of disk a second of transfer, and seconds of all other steps."""
    rates, rests = [], []
    for job in jobs:
        spent = {
            step.name: (step.ended_at - step.started_at).total_seconds()
            for step in job.steps
            if step.started_at and step.ended_at
        }
        size = job.vm.disk_bytes if job.vm else 0
        if size and spent.get("transfer") and "convert" in spent:
            rates.append(size / spent["transfer"])
            rests.append(sum(spent.values()) - spent["transfer"])
    if not rates:
        return Pace(bytes_a_second=BYTES_A_SECOND, rest_s=REST_S, moves=0)
    return Pace(bytes_a_second=median(rates), rest_s=median(rests), moves=len(rates))


def _wanted(item: Assessment, verdict: Verdict | None, concern: str) -> bool:
    return verdict in (None, item.verdict) and (not concern or concern in {one.code for one in item.concerns})
