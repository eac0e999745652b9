"""A world in which plans run: jobs that end one way or the other, users who do as they like, and rules that are held
against every decision. A broken one raises Broken, with its name.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain import plan_run, plan_verbs
from app.domain.errors import Conflict
from app.domain.plan import Gate, ItemState, Plan, PlanState, Wave
from app.domain.plan_run import Change
from app.domain.plan_state import ENDED, FAILURES, LOST, MOVING, Entry
from app.domain.states import JobState

START = datetime(2026, 12, 5, 20, 0, tzinfo=UTC)
FREE = 3


class Broken(AssertionError):
    """The name of the rule, and what broke it."""


@dataclass
class World:
    plan: Plan
    entries: dict[str, Entry]
    chance: random.Random
    now: datetime = START
    by_hand: bool = False  # whether users do things to jobs by hand, too
    units: int = 0
    started: list[str] = field(default_factory=list)

    def look(self) -> None:
        """What a worker does, and what must be right about it."""
        free = self.chance.choice((0, 1, FREE))
        change = plan_run.decide(self.plan, list(self.entries.values()), self.now, free)
        self._hold_against_the_rules(change, free)
        self.write(change)
        again = plan_run.decide(self.plan, list(self.entries.values()), self.now, 0)
        self._require(change.cancel or change.undo or not again.writes(self.plan), "a look writes once", again)

    def write(self, change: Change) -> None:
        """What the store does."""
        self.plan = change.plan
        for key in change.hold:
            self._set(key, state=ItemState.HELD)
        for key in change.again:
            self._set(key, state=ItemState.WAITING, unit="", forgiven=False)
        for key in change.forgive:
            self._set(key, forgiven=True)
        for key in change.cancel:
            self.cancel(key)
        for key in change.undo:
            self._job(key, JobState.ROLLING_BACK, undone=True)
        for unit in change.start:
            self.units += 1
            for key in unit:
                name = f"unit {self.units}" if len(unit) > 1 else ""
                self._job(key, JobState.QUEUED, unit=name, stopping=False, undone=False, forgiven=False)
                self.started.append(key)

    def cancel(self, key: str) -> None:
        if self.entries[key].state is ItemState.QUEUED:
            self._job(key, JobState.CANCELLED)
        else:
            self._set(key, stopping=True)

    def pass_time(self) -> None:
        """Some minutes, in which jobs go on, and now and then a clock that is put right."""
        self.now += timedelta(minutes=self.chance.choice((0, 1, 10, 60, -30)))
        for entry in list(self.entries.values()):
            if entry.state in MOVING and self.chance.random() < 0.5:
                self._go_on(entry)

    def use(self) -> None:
        """What a user may do, or not."""
        items = list(self.entries.values())
        verb = self.chance.choice((None, None, "pause", "resume", "retry", "approve", "roll_back", "job", "cancel"))
        try:
            match verb:
                case "approve":
                    for wave in self.plan.waves:
                        self.write(plan_verbs.approve(self.plan, items, self.now, wave.name))
                case "roll_back":
                    key = self.chance.choice(items).key
                    self.write(plan_verbs.roll_back(self.plan, items, self.now, keys=[key], confirm_data_loss=True))
                case "cancel" if self.chance.random() < 0.2:
                    self.write(plan_verbs.cancel(self.plan, items, self.now))
                case "pause" | "resume" | "retry":
                    self.write(getattr(plan_verbs, verb)(self.plan, items, self.now))
                case "job" if self.by_hand:
                    self._touch(self.chance.choice(items))
        except Conflict:
            pass

    def finish(self) -> None:
        """A user who wants an end, and jobs that come to theirs."""
        for _ in range(40 * len(self.entries) + 40):
            if self.plan.state in ENDED and not any(entry.state in MOVING for entry in self.entries.values()):
                return
            self.now += timedelta(minutes=30)
            for entry in list(self.entries.values()):
                if entry.state in MOVING:
                    self._go_on(entry, pause=False)
            items = list(self.entries.values())
            if self.plan.state in (PlanState.DRAFT, PlanState.PAUSED):
                verb = plan_verbs.start if self.plan.state is PlanState.DRAFT else plan_verbs.resume
                self.write(verb(self.plan, items, self.now))
            elif self.plan.state is PlanState.RUNNING:
                self._unblock(items)
            self.look()
        raise Broken("every plan ends", self.plan.state, self.plan.reason, list(self.entries.values()))

    def _unblock(self, items: list[Entry]) -> None:
        wave = next(iter(plan_run.open_waves(self.plan, items)), None)
        wait = wave and plan_run.wave_waits(self.plan, wave, items, self.now)
        if wait and wait.cause == "approval":
            for wave in self.plan.waves:
                if wave.gate is Gate.MANUAL:
                    self.write(plan_verbs.approve(self.plan, items, self.now, wave.name))
        elif wait and wait.cause != "begins":
            self.write(plan_verbs.cancel(self.plan, items, self.now))

    def _go_on(self, entry: Entry, *, pause: bool = True) -> None:
        roll = self.chance.random()
        match entry.state:
            case ItemState.QUEUED:
                self._job(entry.key, JobState.RUNNING)
            case ItemState.RUNNING if entry.stopping and roll < 0.9:
                self._job(entry.key, JobState.CANCELLED)
            case ItemState.RUNNING if pause and roll > 0.9:
                self._job(entry.key, JobState.PAUSED)
            case ItemState.RUNNING:
                self._job(entry.key, JobState.FAILED if roll < 0.25 else JobState.SUCCEEDED)
            case ItemState.PAUSED:
                self._job(entry.key, JobState.CANCELLED if entry.stopping else JobState.RUNNING)
            case ItemState.ROLLING_BACK:
                self._job(entry.key, JobState.ROLLBACK_FAILED if roll < 0.05 else JobState.ROLLED_BACK)

    def _touch(self, entry: Entry) -> None:
        """A job, by hand."""
        if entry.job is JobState.FAILED and entry.state is ItemState.FAILED:
            self._job(entry.key, JobState.QUEUED, stopping=False, forgiven=False)
        elif plan_run.can_be_cancelled(entry):
            self.cancel(entry.key)
        elif entry.job is JobState.SUCCEEDED:
            self._job(entry.key, JobState.ROLLING_BACK, undone=True)

    def _job(self, key: str, state: JobState, **changes: Any) -> None:
        self._set(key, state=ItemState(state), job=state, **changes)

    def _set(self, key: str, **changes: Any) -> None:
        self.entries[key] = self.entries[key]._replace(**changes)

    # ---- rules

    def _hold_against_the_rules(self, change: Change, free: int) -> None:
        before, waves = dict(self.entries), {wave.name: wave for wave in self.plan.waves}
        begin = [key for unit in change.start for key in unit]
        self._require(not begin or self.plan.state is PlanState.RUNNING, "a plan that does not run starts nothing")
        self._require(not begin or free > 0, "nothing is started without a free place")
        self._require(len(begin) == len(set(begin)), "an item is started once")
        names = [wave.name for wave in self.plan.waves]
        for key in begin:
            entry = before[key]
            wave = waves[entry.wave]
            self._require(entry.state is ItemState.WAITING, "only what waits is started", entry)
            self._require(wave.starts_at is None or self.now >= wave.starts_at, "nothing starts before its wave")
            self._require(wave.ends_at is None or self.now < wave.ends_at, "nothing starts after its window")
            self._require(entry.cutover_at is None or self.now >= entry.cutover_at, "nothing starts before its cutover")
            done = all(before[other].state is ItemState.SUCCEEDED for other in entry.depends_on)
            self._require(done, "nothing starts before what it depends on", entry)
            earlier = [item for item in before.values() if names.index(item.wave) < names.index(entry.wave)]
            over = all(item.state in LOST or item.state is ItemState.SUCCEEDED for item in earlier)
            begun = wave.open_since is not None
            self._require(over or begun or set(change.hold), "waves run in order", entry)
            if wave.gate is Gate.MANUAL:
                self._require(wave.approved_at is not None, "gates are obeyed", entry)
            if wave.gate is Gate.ALL_GREEN:
                green = all(item.state is ItemState.SUCCEEDED for item in earlier)
                self._require(green or begun, "gates are obeyed", entry)
        for wave in self.plan.waves:
            mine = [item for item in before.values() if item.wave == wave.name]
            new = sum(item.key in begin for item in mine)
            moving = new + sum(item.state in MOVING for item in mine)
            self._require(not new or not wave.at_once or moving <= wave.at_once, "at_once is obeyed", wave, moving)
            failed = sum(item.state in FAILURES and not item.forgiven for item in mine)
            self._require(not begin or not wave.stop_after or failed < wave.stop_after, "stop_after is obeyed", wave)
        self._look_at_groups(begin)

    def _look_at_groups(self, begun: list[str]) -> None:
        groups, units = defaultdict(list), defaultdict(list)
        for entry in self.entries.values():
            if entry.group:
                groups[entry.group].append(entry)
            if entry.unit:
                units[entry.unit].append(entry)
        for members in groups.values():
            new = [entry for entry in members if entry.key in begun]
            waits = [entry for entry in members if entry.state is ItemState.WAITING]
            self._require(not new or len(new) == len(waits), "groups start together", members)
        if self.by_hand or any(entry.state in MOVING for entry in self.entries.values()):
            return
        for members in units.values():
            lost = any(entry.state in (ItemState.FAILED, ItemState.CANCELLED) for entry in members)
            won = any(entry.state is ItemState.SUCCEEDED for entry in members)
            if self.plan.state in ENDED:
                self._require(not (lost and won), "groups move whole or not at all", members)

    @staticmethod
    def _require(holds: object, rule: str, *about: object) -> None:
        if not holds:
            raise Broken(rule, *about)


def make_world(seed: int, *, by_hand: bool = False) -> World:
    """Waves with limits, windows and gates; items with times, groups, and what they depend on, now and then what an
    import would refuse.
    """
    chance = random.Random(seed)
    waves = tuple(_wave(chance, str(number)) for number in range(1, chance.randint(1, 3) + 1))
    entries: dict[str, Entry] = {}
    for number in range(chance.randint(1, 10)):
        group = chance.choice(("", "", "", "a", "b"))
        known = [entry for entry in entries.values() if chance.random() < 0.1 or not group or entry.group != group]
        before = chance.sample(known, min(len(known), chance.choice((0, 0, 1, 2))))
        mates = [entry for entry in entries.values() if group and entry.group == group]
        wave = mates[0].wave if mates and chance.random() < 0.9 else chance.choice(waves).name
        key = f"vc:vm-{number}"
        entries[key] = Entry(
            key=key,
            name=f"vm{number}",
            state=ItemState.WAITING,
            place=number,
            wave=wave,
            order=chance.randint(0, 2),
            cutover_at=START + timedelta(hours=chance.randint(0, 3)) if chance.random() < 0.3 else None,
            group=group,
            depends_on=tuple(entry.key for entry in before),
        )
    plan = Plan(id="p", name="p", waves=waves, created_at=START, updated_at=START)
    return World(plan, entries, chance, by_hand=by_hand)


def _wave(chance: random.Random, name: str) -> Wave:
    starts = START + timedelta(hours=chance.randint(0, 2)) if chance.random() < 0.5 else None
    ends = (starts or START) + timedelta(hours=chance.randint(1, 6)) if chance.random() < 0.3 else None
    return Wave(
        name=name,
        starts_at=starts,
        ends_at=ends,
        at_once=chance.choice((None, 1, 2, 3)),
        stop_after=chance.choice((None, None, 1, 2)),
        gate=chance.choice(tuple(Gate)),
    )


def run(seed: int, *, by_hand: bool = False) -> World:
    """One plan from its start to its end. Raises Broken."""
    world = make_world(seed, by_hand=by_hand)
    world.write(plan_verbs.start(world.plan, list(world.entries.values()), world.now))
    for _ in range(30):
        world.look()
        world.pass_time()
        world.use()
    world.finish()
    return world
