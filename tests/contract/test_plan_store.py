"""The plans' store over SQLite: what is planned, what a run knows, and that neither overwrites the other."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.domain import plan_run, plan_verbs
from app.domain.errors import Conflict, NotFound
from app.domain.job import Job
from app.domain.lifecycle import pending_steps
from app.domain.models import ImageOptions, Tls
from app.domain.plan import Gate, Item, ItemState, Plan, PlanState, Wave
from app.domain.plan_run import Change
from app.domain.plan_state import Entry
from app.domain.states import JobState
from app.store.paging import PageRequest
from app.store.plans import Ready, Verb
from app.store.schema import upgrade
from app.store.store import Store, open_store

NOW = datetime(2026, 12, 5, 22, 0, tzinfo=UTC)


def item(number: int, **changes: Any) -> Item:
    fields = {
        "key": f"vcenter-uuid:vm-{number}",
        "place": number,
        "source": "lab",
        "vm_id": f"vm-{number}",
        "vm_name": f"guest{number}",
        "target": "here",
        "bytes": number << 30,
    }
    return Item.model_validate(fields | changes)


@dataclass
class Kit:
    store: Store
    source: str
    target: str

    def plan(self, *items: Item, name: str = "weekend", **changes: Any) -> Plan:
        fields = {"id": secrets.token_hex(6), "name": name, "created_at": NOW, "updated_at": NOW}
        return self.store.plans.save(Plan.model_validate(fields | changes), items)

    def job(self, plan: Plan, number: int, **changes: Any) -> Job:
        job = Job(
            id=secrets.token_hex(6),
            vm_id=f"vm-{number}",
            vm_name=f"guest{number}",
            source_id=self.source,
            source_name="lab",
            target_id=self.target,
            target_name="here",
            plan_id=plan.id,
            options=item(number).options,
            created_at=NOW,
        ).model_copy(update=changes)
        return job.model_copy(update={"steps": pending_steps(job)})

    def started(self, plan: Plan, *numbers: int) -> list[Job]:
        """A plan that runs, with a job for each of these items."""
        self.store.plans.change(plan.id, at(plan_verbs.start))
        made = {f"vcenter-uuid:vm-{n}": self.job(plan, n) for n in numbers}
        ready: Ready = {(key,): {key: job} for key, job in made.items()}
        self.store.plans.advance(plan.id, starting(*ready), ready, {})
        return list(made.values())

    def end(self, job: Job, *path: JobState) -> None:
        self.store.workers.admit(100, lambda _connection, _job: None)
        for state in path:
            self.store.jobs.transition(job.id, state)

    def states(self, plan: Plan) -> dict[str, ItemState]:
        return {entry.name: entry.state for entry in self.store.plans.standing(plan.id)[1]}


def at(verb: Callable[..., Change], *args: Any, **named: Any) -> Verb:
    return lambda plan, entries: verb(plan, entries, NOW, *args, **named)


def starting(*units: tuple[str, ...]) -> Verb:
    return lambda plan, _entries: Change(plan, start=units)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    store = open_store(url, tmp_path / "secret.key")
    source = store.sources.add(name="lab", kind="vcenter", host="vc", tls=Tls(insecure=True))
    store.workers.save_inventory(source.id, "vcenter-uuid", [])
    target = store.targets.add(
        name="here", kind="libvirt", uri="qemu:///system", pool="default", image=ImageOptions(), networks={}
    )
    return Kit(store, source.id, target.id)


def test_a_plan_is_read_back_as_it_was(kit: Kit) -> None:
    waves = (Wave(name="1", starts_at=NOW, at_once=3, stop_after=2), Wave(name="2", gate=Gate.MANUAL))
    items = [
        item(2, wave="2", order=-1, cutover_at=NOW, group="shop", depends_on=("vcenter-uuid:vm-1",), notes="ä\n"),
        item(1, include=False, options={"target_name": "web", "networks": {"a": "b"}}, owner="me", vm_uuid="u"),
    ]
    plan = kit.plan(*items, waves=waves, description="all of it")
    assert plan.version == 1
    assert kit.store.plans.get(plan.id) == kit.store.plans.get("weekend") == plan
    assert kit.store.plans.items(plan.id) == [items[1], items[0]]
    assert kit.store.plans.items(plan.id, keys=[items[0].key]) == [items[0]]
    assert kit.store.plans.items(plan.id, wave="1") == [items[1]]
    with pytest.raises(NotFound):
        kit.store.plans.get("none")


def test_a_new_plan_knows_nothing_of_a_run(kit: Kit) -> None:
    wave = Wave(name="1", gate=Gate.MANUAL, approved_at=NOW, open_since=NOW)
    plan = kit.plan(item(1), waves=(wave,), state=PlanState.RUNNING, version=7)
    assert (plan.state, plan.version, plan.waves) == (PlanState.DRAFT, 1, (Wave(name="1", gate=Gate.MANUAL),))


def test_a_name_is_taken_once(kit: Kit) -> None:
    kit.plan()
    with pytest.raises(Conflict) as caught:
        kit.plan()
    assert caught.value.code == "plan_exists"


def test_plans_are_listed_in_pages(kit: Kit) -> None:
    made = [kit.plan(name=f"plan {n}") for n in range(3)]
    kit.store.plans.change(made[1].id, at(plan_verbs.cancel))
    page = kit.store.plans.list(PageRequest(limit=2, sort="name"))
    assert [plan.name for plan in page.items] == ["plan 0", "plan 1"]
    rest = kit.store.plans.list(PageRequest(limit=2, sort="name", cursor=page.next or ""))
    assert [plan.name for plan in rest.items] == ["plan 2"]
    gone = kit.store.plans.list(PageRequest(), states=[PlanState.CANCELLED])
    assert [plan.name for plan in gone.items] == ["plan 1"]


def test_saving_the_same_again_changes_nothing(kit: Kit) -> None:
    plan = kit.plan(item(1), item(2))
    last = kit.store.events.last_id()
    again = plan.model_copy(update={"updated_at": NOW.replace(year=2030), "state": PlanState.FAILED, "version": 9})
    assert kit.store.plans.save(again, [item(2), item(1)], expected=1) == plan
    assert kit.store.events.last_id() == last


def test_what_is_planned_is_replaced_and_the_version_counts(kit: Kit) -> None:
    plan = kit.plan(item(1), item(2))
    new = kit.store.plans.save(plan, [item(2, wave="2"), item(3)], expected=1)
    assert new.version == 2
    assert new.updated_at != plan.updated_at
    assert [entry.key[-4:] for entry in kit.store.plans.items(plan.id)] == ["vm-2", "vm-3"]
    assert kit.store.plans.items(plan.id)[0].wave == "2"
    with pytest.raises(Conflict) as caught:
        kit.store.plans.save(plan, [], expected=1)
    assert caught.value.code == "plan_changed"


def test_an_approval_outlives_an_import_that_leaves_the_gate(kit: Kit) -> None:
    gated = (Wave(name="1"), Wave(name="2", gate=Gate.MANUAL))
    plan = kit.plan(item(1), waves=gated)
    plan = kit.store.plans.change(plan.id, at(plan_verbs.approve, "2"))
    assert plan.version == 1
    wanted = plan.model_copy(update={"waves": gated, "description": "new"})
    assert kit.store.plans.save(wanted, [item(1)]).waves[1].approved_at == NOW
    begun = tuple(wave.model_copy(update={"open_since": NOW}) for wave in plan.waves)
    kit.store.plans.change(plan.id, lambda plan, _: Change(plan.model_copy(update={"waves": begun})))
    assert [w.open_since for w in kit.store.plans.save(wanted, [item(1, wave="2")]).waves] == [NOW, NOW]
    open_ = wanted.model_copy(update={"waves": (Wave(name="1"), Wave(name="2"))})
    assert kit.store.plans.save(open_, [item(1)]).waves[1].approved_at is None
    assert kit.store.plans.save(wanted, [item(1)]).waves[1].approved_at is None


@pytest.mark.parametrize("path", [(), (JobState.SUCCEEDED,), (JobState.ROLLING_BACK, JobState.ROLLBACK_FAILED)])
def test_what_was_started_meanwhile_is_not_overwritten(kit: Kit, path: tuple[JobState, ...]) -> None:
    plan = kit.plan(item(1), item(2))
    [job] = kit.started(plan, 1)
    kit.end(job, *path)
    for wanted in ([item(1, wave="2"), item(2)], [item(2)]):
        with pytest.raises(Conflict) as caught:
            kit.store.plans.save(plan, wanted)
        assert caught.value.code == "plan_changed"
        assert "guest1" in caught.value.message
    kit.store.plans.save(plan, [item(1), item(2, wave="2")])
    assert kit.store.plans.items(plan.id)[0].job == job.id


def test_what_failed_may_be_changed_and_keeps_what_its_run_knows(kit: Kit) -> None:
    plan = kit.plan(item(1))
    [job] = kit.started(plan, 1)
    kit.end(job, JobState.FAILED)
    kit.store.plans.save(plan, [item(1, options={"target_name": "other"})])
    [changed] = kit.store.plans.items(plan.id)
    assert (changed.options.target_name, changed.job) == ("other", job.id)


def test_where_items_stand(kit: Kit) -> None:
    plan = kit.plan(*(item(n) for n in range(1, 6)), item(6, include=False))
    first, second, third = kit.started(plan, 1, 2, 3)
    kit.end(first, JobState.SUCCEEDED)
    kit.end(second, JobState.ROLLING_BACK, JobState.FAILED)
    kit.store.requests.cancel(third.id)
    kit.store.plans.change(plan.id, lambda plan, _entries: Change(plan, hold={"vcenter-uuid:vm-5": "because"}))
    assert kit.states(plan) == {
        "guest1": ItemState.SUCCEEDED,
        "guest2": ItemState.FAILED,
        "guest3": ItemState.RUNNING,
        "guest4": ItemState.WAITING,
        "guest5": ItemState.HELD,
        "guest6": ItemState.LEFT_OUT,
    }
    entries = {entry.name: entry for entry in kit.store.plans.standing(plan.id)[1]}
    assert entries["guest3"].stopping
    assert not entries["guest2"].undone
    assert entries["guest4"] == Entry(
        key="vcenter-uuid:vm-4", name="guest4", state=ItemState.WAITING, place=4, bytes=4 << 30
    )
    summaries = kit.store.plans.jobs_of(plan.id)
    assert summaries.keys() == {first.id, second.id, third.id}
    assert summaries[first.id].on_failure == "rollback"
    assert summaries[first.id].ended_at is not None


def test_a_job_and_its_item_are_written_together(kit: Kit) -> None:
    plan = kit.plan(item(1), item(2))
    kit.store.plans.change(plan.id, at(plan_verbs.start))
    unit = ("vcenter-uuid:vm-1", "vcenter-uuid:vm-2")
    broken: Ready = {unit: {unit[0]: kit.job(plan, 1), unit[1]: kit.job(plan, 2, target_id="gone")}}
    kit.store.plans.advance(plan.id, starting(unit), broken, {})
    assert kit.store.requests.list(PageRequest()).items == []
    assert kit.states(plan) == {"guest1": ItemState.WAITING, "guest2": ItemState.FAILED}
    assert "no longer registered" in (kit.store.plans.items(plan.id)[1].error or {})["message"]


def test_a_vm_of_another_job_is_refused_with_its_job(kit: Kit) -> None:
    plan = kit.plan(item(1))
    holder = kit.store.requests.submit(kit.job(plan, 1, plan_id=""))
    kit.started(plan, 1)
    [refused] = kit.store.plans.items(plan.id)
    assert refused.job == ""
    assert refused.error is not None
    assert (refused.error["code"], refused.error["job"]) == ("vm_has_job", holder.id)


def test_retried_items_go_again_and_their_failures_are_forgiven(kit: Kit) -> None:
    plan = kit.plan(item(1), item(2), waves=(Wave(name="1", stop_after=1),))
    first, _ = kit.started(plan, 1, 2)
    kit.end(first, JobState.FAILED)
    kit.store.plans.change(plan.id, lambda plan, _entries: Change(plan, again=["vcenter-uuid:vm-1"]))
    assert kit.states(plan)["guest1"] is ItemState.WAITING
    unit = ("vcenter-uuid:vm-1",)
    kit.store.plans.advance(plan.id, starting(unit), {unit: {unit[0]: None}}, {})
    assert kit.states(plan)["guest1"] is ItemState.QUEUED
    assert kit.store.jobs.job(first.id).run == 2
    kit.end(first, JobState.FAILED)
    assert kit.states(plan)["guest1"] is ItemState.FAILED
    kit.store.plans.change(plan.id, lambda plan, _entries: Change(plan, forgive=["vcenter-uuid:vm-1"]))
    assert [entry.forgiven for entry in kit.store.plans.standing(plan.id)[1]] == [True, False]
    kit.store.requests.retry(first.id)
    kit.end(first, JobState.FAILED)
    assert [entry.forgiven for entry in kit.store.plans.standing(plan.id)[1]] == [False, False]


def test_plans_that_a_look_may_change(kit: Kit) -> None:
    idle, ended, running = (kit.plan(item(n), name=f"plan {n}") for n in (1, 2, 3))
    [job] = kit.started(running, 3)
    assert kit.store.plans.active() == [running.id]
    [late] = kit.started(ended, 2)
    kit.end(late, JobState.FAILED)
    assert kit.store.plans.active() == [ended.id, running.id]
    kit.store.plans.change(ended.id, lambda plan, _: Change(plan.model_copy(update={"state": PlanState.FAILED})))
    assert kit.store.plans.active() == [running.id]
    kit.store.requests.retry(late.id)
    assert set(kit.store.plans.active()) == {ended.id, running.id}
    assert idle.id not in kit.store.plans.active()
    kit.end(job)


def test_a_plan_is_not_removed_while_it_moves(kit: Kit) -> None:
    plan = kit.plan(item(1))
    [job] = kit.started(plan, 1)
    with pytest.raises(Conflict) as caught:
        kit.store.plans.remove("weekend")
    assert caught.value.code == "plan_moves"
    kit.end(job, JobState.SUCCEEDED)
    kit.store.plans.remove("weekend")
    assert kit.store.plans.items(plan.id) == []
    assert kit.store.jobs.job(job.id).plan_id == plan.id


def test_events_of_a_plan_are_its_own_and_those_of_its_jobs(kit: Kit) -> None:
    plan, other = kit.plan(item(1)), kit.plan(item(2), name="other")
    [job] = kit.started(plan, 1)
    kit.end(job)
    kit.store.jobs.event(job.id, "job.log", "of the job")
    kit.started(other, 2)
    found = kit.store.events.after(0, plan_id=plan.id)
    kinds = [(event.kind, event.job_id == job.id) for event in found]
    assert kinds == [
        ("plan.made", False),
        ("plan.state", False),
        ("job.state", True),
        ("job.state", True),
        ("job.log", True),
    ]
    assert {event.plan_id for event in found} == {plan.id}


def test_several_who_look_at_once_start_an_item_once(kit: Kit) -> None:
    plan = kit.plan(*(item(n) for n in range(1, 9)), waves=(Wave(name="1", at_once=3),))
    kit.store.plans.change(plan.id, at(plan_verbs.start))
    units = {(f"vcenter-uuid:vm-{n}",): n for n in range(1, 9)}

    def look() -> None:
        ready: Ready = {unit: {unit[0]: kit.job(plan, number)} for unit, number in units.items()}
        kit.store.plans.advance(plan.id, lambda plan, entries: plan_run.decide(plan, entries, NOW, free=100), ready, {})

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [name for name, state in kit.states(plan).items() if state is ItemState.QUEUED]
    assert started == ["guest1", "guest2", "guest3"]
    assert len(kit.store.requests.list(PageRequest()).items) == 3
