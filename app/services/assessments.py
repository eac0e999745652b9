"""How each VM of an inventory would move, before anyone asks for it: judged by what is stored, nothing is touched."""

from __future__ import annotations

from statistics import median
from typing import Literal, NamedTuple

from app import preflight
from app.domain.conversion import converters_for
from app.domain.hardware.case import Case
from app.domain.job import Job
from app.domain.models import Concern, ConverterName, MoveOptions, Reservation, TargetFacts
from app.domain.registered import ListedVM, RegisteredTarget
from app.domain.space import reservations
from app.domain.states import JobState
from app.domain.value import Value
from app.preflight.converter import version
from app.services.moves import facts_of, planned
from app.store.paging import Page, PageRequest
from app.store.store import Store

Verdict = Literal["ready", "with_warnings", "blocked"]

BYTES_A_SECOND = 100 << 20  # of a disk's size, where nothing was moved yet: what a wire of 1 Gb/s carries
REST_S = 180.0  # for all but the copy, where nothing was moved yet
LOOKED_BACK = 50  # jobs that the estimate is made from


class PlannedHardware(Value):
    firmware: str
    cpus: int
    memory_bytes: int
    disk_bus: str
    nic_model: str


class Assessment(NamedTuple):
    """`converter` is None for a disk_only move, and where only the user can choose one; `seconds` is an estimate."""

    listed: ListedVM
    verdict: Verdict
    concerns: list[Concern]
    converter: ConverterName | None
    reason: str
    hardware: PlannedHardware
    seconds: float


class Pace(NamedTuple):
    bytes_a_second: float
    rest_s: float


class Assessments:
    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, request: PageRequest, *, source: str, target: str, name: str = "") -> Page[Assessment]:
        """`source` and `target` by id or name; no target means the only one.

        Raises NotFound, Conflict, InvalidRequest.
        """
        from_ = self._store.sources.get(source)
        to = self._store.targets.get(target) if target else self._store.targets.only()
        facts = facts_of(to)
        reserved = tuple(reservations(self._store.requests.sharing_pool(to.id)))
        ended = self._store.requests.list(
            PageRequest(LOOKED_BACK, sort="-created_at"), states=[JobState.SUCCEEDED], target=to.id
        )
        pace = pace_of(ended.items)
        found = self._store.inventory.list(request, source=from_.id, name=name)
        return Page([assess(listed, to, facts, reserved, pace) for listed in found.items], found.next)


def assess(
    listed: ListedVM, to: RegisteredTarget, facts: TargetFacts, reserved: tuple[Reservation, ...], pace: Pace
) -> Assessment:
    vm, options = listed.vm, MoveOptions()
    move = planned("assessment", vm, to, options, reserved)
    concerns = preflight.run(move, facts)
    severities = {concern.severity for concern in concerns}
    choices = converters_for(vm, options.converter, version(facts))
    buses = Case(move, (), vm.uuid, facts.accelerator, "", facts.tpm).buses
    return Assessment(
        listed,
        "blocked" if "blocker" in severities else "with_warnings" if "warning" in severities else "ready",
        concerns,
        choices[0].converter if choices else None,
        choices[0].reason if choices else "only compat can take it, which is yours to choose",
        PlannedHardware(
            firmware=vm.firmware, cpus=vm.cpus, memory_bytes=vm.memory_bytes, disk_bus=buses.disk, nic_model=buses.nic
        ),
        vm.disk_bytes / pace.bytes_a_second + pace.rest_s,
    )


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
    return Pace(median(rates), median(rests)) if rates else Pace(BYTES_A_SECOND, REST_S)
