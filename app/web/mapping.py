"""The tables of a new plan: where networks and disks go, and when waves start. Prefilled from what its rows say, and
what somebody chooses in them goes before that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from app.domain.plan import Gate, Problem, Wanted, WantedPlan, Wave
from app.domain.registered import RegisteredTarget
from app.services.planning.drafts import DEFAULT_WAVE
from app.services.planning.identity import source_of, vm_of
from app.services.planning.known import Known
from app.services.planning.report import Findings
from app.services.planning.waves import natural
from app.store.store import Store

Place = tuple[str, str]  # a target and a pool of it, "" for its own


@dataclass(frozen=True)
class Chosen:
    """networks: of the source → where to plug in, "" for what the rows say. places: as rows say → as it shall be."""

    networks: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[Place, Place] = field(default_factory=dict)
    waves: Sequence[Mapping[str, str]] = ()


class NetworkRow(NamedTuple):
    """`said`: what rows say, where they agree; `usual`: what the targets' own maps say."""

    name: str
    vms: int
    said: str
    usual: str
    differ: bool


class PlaceRow(NamedTuple):
    said: Place
    vms: int
    now: Place
    known: bool  # whether `now` is a pool of a target


class Option(NamedTuple):
    """A pool that can be chosen."""

    place: Place
    free_bytes: int | None
    usual: bool


@dataclass(frozen=True)
class Tables:
    networks: Sequence[NetworkRow]
    places: Sequence[PlaceRow]
    options: Mapping[str, Sequence[Option]]  # a target's name → its pools
    plugs: Sequence[str]
    waves: Sequence[Wave]


def tables(wanted: WantedPlan, store: Store, source: str) -> Tables:
    """`source`: for rows that name none."""
    known = Known(store)
    return Tables(
        networks=_networks(wanted, known, store, source),
        places=_places(wanted, known),
        options={target.name: _options(target) for target in known.targets},
        plugs=sorted({plug for target in known.targets for plug in _plugs(target)}),
        waves=wanted.waves or [Wave(name=name) for name in _used(wanted)],
    )


def with_chosen(wanted: WantedPlan, chosen: Chosen, store: Store, source: str) -> WantedPlan:
    """The same rows, as if they said what was chosen."""
    on = cards(wanted, Known(store), store, source) if any(chosen.networks.values()) else {}
    rows = []
    for number, row in enumerate(wanted.rows):
        plugs = {name: chosen.networks[name] for name in on.get(number, ()) if chosen.networks.get(name)}
        said = (row.target, row.pool)
        target, pool = chosen.places.get(said, said)
        rows.append(replace(row, target=target, pool=pool, networks={**row.networks, **plugs}))
    waves, problems = _waves(chosen.waves)
    return replace(wanted, rows=tuple(rows), waves=waves or wanted.waves, problems=(*wanted.problems, *problems))


def left_out(wanted: WantedPlan, errors: Sequence[Problem]) -> tuple[WantedPlan, int]:
    """The same without those rows that have errors, and how many these are: they are not moved."""
    wrong = {problem.place for problem in errors if problem.place}
    rows, cells = [], set()
    for row in wanted.rows:
        places = {*row.places.values(), row.place()}
        if row.include and not wrong.isdisjoint(places):
            cells |= places
            row = replace(row, include=False)
        rows.append(row)
    number = sum(new is not old for new, old in zip(rows, wanted.rows, strict=True))
    problems = tuple(problem for problem in wanted.problems if problem.place not in cells)
    return replace(wanted, rows=tuple(rows), problems=problems), number


def cards(wanted: WantedPlan, known: Known, store: Store, source: str) -> dict[int, Sequence[str]]:
    """The number of each row whose VM is found → the networks that its cards are on."""
    nowhere = Findings()
    found: dict[int, Sequence[str]] = {}
    networks: dict[str, Mapping[str, Sequence[str]]] = {}
    for number, row in enumerate(wanted.rows):
        from_ = source_of(row, source, known, nowhere) if row.include else None
        vm = vm_of(row, known.vms(from_), known, nowhere) if from_ else None
        if from_ and vm:
            if from_.id not in networks:
                networks[from_.id] = store.inventory.cards(from_.id)
            found[number] = networks[from_.id].get(vm.id, ())
    return found


def _networks(wanted: WantedPlan, known: Known, store: Store, source: str) -> list[NetworkRow]:
    vms: Counter[str] = Counter()
    said: dict[str, set[str]] = defaultdict(set)
    usual: dict[str, set[str]] = defaultdict(set)
    for number, names in cards(wanted, known, store, source).items():
        row = wanted.rows[number]
        to = _target(row, known)
        for name in set(names):
            vms[name] += 1
            said[name].add(row.networks.get(name, ""))
            usual[name].add(to.networks.get(name, to.networks.get("*", "")) if to else "")
    return [
        NetworkRow(
            name=name,
            vms=number,
            said=next(iter(said[name])) if len(said[name]) == 1 else "",
            usual=next(iter(usual[name])) if len(usual[name]) == 1 else "",
            differ=len(said[name]) > 1,
        )
        for name, number in sorted(vms.items())
    ]


def _places(wanted: WantedPlan, known: Known) -> list[PlaceRow]:
    vms = Counter((row.target, row.pool) for row in wanted.rows if row.include)
    found = []
    for (target, pool), number in sorted(vms.items()):
        to = known.target(target) or (known.targets[0] if not target and len(known.targets) == 1 else None)
        there = to is not None and (not pool or to.facts is None or to.facts.pool(pool) is not None)
        found.append(PlaceRow((target, pool), number, (to.name if to else target, pool), there))
    return found


def _options(target: RegisteredTarget) -> list[Option]:
    pools = target.facts.pools if target.facts else ()
    own = next((pool.free_bytes for pool in pools if pool.name == target.pool), None)
    usual = Option((target.name, ""), own, True)
    return [usual, *(Option((target.name, p.name), p.free_bytes, False) for p in pools if p.name != target.pool)]


def _plugs(target: RegisteredTarget) -> list[str]:
    if target.facts is None:
        return []
    host = target.facts.host
    return [
        *target.facts.networks,
        *(f"bridge:{name}" for name in host.bridges),
        *(f"ovs:{name}" for name in host.ovs_bridges),
        *(f"macvtap:{name}" for name in host.cards),
        *target.networks.values(),
    ]


def _target(row: Wanted, known: Known) -> RegisteredTarget | None:
    if not row.target and len(known.targets) == 1:
        return known.targets[0]
    return known.target(row.target)


def _used(wanted: WantedPlan) -> list[str]:
    return sorted({row.wave or DEFAULT_WAVE for row in wanted.rows}, key=natural) or [DEFAULT_WAVE]


def _waves(said: Sequence[Mapping[str, str]]) -> tuple[tuple[Wave, ...], list[Problem]]:
    """What was written into the table of waves; what is wrong there has the place "wave NAME"."""
    waves: list[Wave] = []
    problems: list[Problem] = []
    for values in said:
        name = values["name"]
        try:
            waves.append(
                Wave(
                    name=name,
                    starts_at=_moment(values["starts_at"]),
                    ends_at=_moment(values["ends_at"]),
                    at_once=int(values["at_once"]) if values["at_once"] else None,
                    stop_after=int(values["stop_after"]) if values["stop_after"] else None,
                    gate=Gate(values["gate"] or Gate.NONE),
                )
            )
        except ValidationError as error:
            problems += [Problem(f"wave {name}", f"{item['loc'][0]}: {item['msg']}") for item in error.errors()]
        except ValueError as error:
            problems.append(Problem(f"wave {name}", str(error), "Write it as the other ones are."))
    return (() if problems else tuple(waves)), problems


def _moment(text: str) -> datetime | None:
    """What a field of date and time sends, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
