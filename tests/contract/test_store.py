"""JobStore and WorkerStore: one suite, the SQL adapter and the one in memory."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.boot import Boot
from app.domain.errors import Conflict, NotFound
from app.domain.job import Beat, Event, Job, Pause, SourceBefore
from app.domain.lifecycle import pending_steps
from app.domain.limits import ScopedLimit, Window
from app.domain.models import (
    VM,
    Artefact,
    Check,
    Concern,
    DiskProgress,
    ImageOptions,
    Leftover,
    PowerState,
    SourceSpec,
    TargetFacts,
    TargetSpec,
    Tls,
)
from app.domain.move import MoveOptions
from app.domain.states import JobState
from app.ports.store import JobStore, WorkerStore
from app.store.schema import upgrade
from app.store.store import open_store
from tests.contract.memory.store import MemoryStore

ROLLBACK = MoveOptions()
HOLD = MoveOptions.model_validate({"on_failure": "hold"})
RAW = ImageOptions(format="raw", preallocation="falloc", discard=False)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PASSWORD = "s3cret-of-the-source"


@dataclass
class Kit:
    """A store with one source, registered twice, and one target."""

    jobs: JobStore
    workers: WorkerStore
    asks: Any  # submit, pause, resume, cancel, retry, roll_back
    operations: Any  # ask
    source_ids: list[str]
    target_id: str
    read_events: Any
    limits: Any  # set, clear
    add_target: Callable[[str, str], str]  # name and pool of one more target at the same URI; its id

    def make(self, vm_id: str = "vm-1", options: MoveOptions = ROLLBACK, source: int = 0, target: str = "") -> Job:
        job = Job(
            id=secrets.token_hex(6),
            vm_id=vm_id,
            vm_name=f"name of {vm_id}",
            source_id=self.source_ids[source],
            source_name="lab",
            target_id=target or self.target_id,
            target_name="here",
            options=options,
            created_at=datetime.now(UTC),
        )
        return job.model_copy(update={"steps": pending_steps(job)})

    def submit(self, vm_id: str = "vm-1", options: MoveOptions = ROLLBACK, source: int = 0, target: str = "") -> Job:
        made: Job = self.asks.submit(self.make(vm_id, options, source, target))
        return made

    def admit(self, limit: int = 10) -> list[str]:
        return self.workers.admit(limit, lambda _transaction, _job: None)

    def running(self, vm_id: str = "vm-1", options: MoveOptions = ROLLBACK) -> Job:
        job = self.submit(vm_id, options)
        assert self.admit() == [job.id]
        return self.jobs.job(job.id)

    def ended(self, *path: JobState, options: MoveOptions = ROLLBACK, vm_id: str = "vm-1") -> Job:
        job = self.running(vm_id, options)
        for state in path:
            job = self.jobs.transition(job.id, state)
        return job

    def events(self, job_id: str, kind: str) -> list[Event]:
        return [event for event in self.read_events() if event.job_id == job_id and event.kind == kind]


def _memory() -> Kit:
    store = MemoryStore()
    for key in ("s1", "s2"):
        store.sources[key] = SourceSpec(
            id=key, name=key, kind="vcenter", host="vc", username="u", password=PASSWORD, tls=Tls(insecure=True)
        )
        store.save_inventory(key, "same-vcenter", [])
    store.targets["t1"] = TargetSpec(id="t1", name="here", image=RAW, networks={"*": "default"})

    def add_target(name: str, pool: str) -> str:
        store.targets[name] = TargetSpec(id=name, name=name, pool=pool)
        return name

    return Kit(store, store, store, store, ["s1", "s2"], "t1", lambda: store.events, store, add_target)


def _sqlite(tmp_path: Path) -> Kit:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    store = open_store(url, tmp_path / "secret.key")
    ids = []
    for name in ("lab", "lab again"):
        tls = Tls(insecure=True)
        made = store.sources.add(name=name, kind="vcenter", host="vc", tls=tls, username="u", password=PASSWORD)
        store.workers.save_inventory(made.id, "same-vcenter", [])
        ids.append(made.id)
    target = store.targets.add(
        name="here", kind="libvirt", uri="qemu:///system", pool="default", image=RAW, networks={"*": "default"}
    )
    return Kit(
        store.jobs,
        store.workers,
        store.requests,
        store.operations,
        ids,
        target.id,
        lambda: store.events.after(0, limit=1000),
        store.limits,
        lambda name, pool: (
            store.targets.add(name=name, kind="libvirt", uri="qemu:///system", pool=pool, image=RAW, networks={}).id
        ),
    )


@pytest.fixture(params=["memory", "sqlite"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Kit:
    return _memory() if request.param == "memory" else _sqlite(tmp_path)


def test_a_submitted_job_is_read_back_as_it_was(kit: Kit) -> None:
    options = MoveOptions.model_validate({"strategy": "disk_only", "networks": {"a": "b"}, "target_name": "x"})
    job = kit.submit(options=options)
    assert kit.jobs.job(job.id) == job
    assert [step.name for step in job.steps][:2] == ["preflight", "shutdown"]


@pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED])
def test_disk_keys_are_kept_until_nothing_can_need_them(kit: Kit, end: JobState) -> None:
    other = kit.asks.submit(kit.make("vm-2"), None, {"all": "another"})
    job = kit.asks.submit(kit.make(), None, {"all": "secret", "/dev/sdb1": "b"})
    assert kit.jobs.disk_keys(kit.submit("vm-3").id) == {}
    kit.admit()
    kit.jobs.transition(job.id, JobState.RUNNING)
    assert kit.jobs.disk_keys(job.id) == {"all": "secret", "/dev/sdb1": "b"}
    kit.jobs.transition(job.id, end)
    assert bool(kit.jobs.disk_keys(job.id)) == (end is JobState.FAILED)
    assert kit.jobs.disk_keys(other.id) == {"all": "another"}


def test_what_is_unknown_is_not_found(kit: Kit) -> None:
    for call in (kit.jobs.job, kit.jobs.source, kit.jobs.target):
        with pytest.raises(NotFound):
            call("none")
    with pytest.raises(NotFound):
        kit.jobs.transition("none", JobState.RUNNING)


def test_specs_carry_the_secret_in_memory_only(kit: Kit) -> None:
    spec = kit.jobs.source(kit.source_ids[0])
    assert (spec.username, spec.password, spec.tls.insecure) == ("u", PASSWORD, True)
    assert PASSWORD not in repr(spec)
    target = kit.jobs.target(kit.target_id)
    assert (target.networks, target.image) == ({"*": "default"}, RAW)


def test_transitions_follow_the_table(kit: Kit) -> None:
    job = kit.running()
    assert job.started_at is not None
    done = kit.jobs.transition(job.id, JobState.SUCCEEDED)
    assert done.ended_at is not None
    assert done.phase == ""
    with pytest.raises(Conflict, match="cannot become running"):
        kit.jobs.transition(job.id, JobState.RUNNING)
    assert kit.jobs.transition(job.id, JobState.SUCCEEDED) == done


def test_each_transition_leaves_one_event(kit: Kit) -> None:
    job = kit.ended(JobState.SUCCEEDED)
    kit.jobs.transition(job.id, JobState.SUCCEEDED)
    assert [event.data["state"] for event in kit.events(job.id, "job.state")] == ["queued", "running", "succeeded"]


def test_an_error_stays_through_the_undo(kit: Kit) -> None:
    job = kit.running()
    kit.jobs.transition(job.id, JobState.ROLLING_BACK, error={"code": "no_space", "message": "full"})
    failed = kit.jobs.transition(job.id, JobState.FAILED)
    assert failed.error == {"code": "no_space", "message": "full"}


def test_leftovers_are_told(kit: Kit) -> None:
    job = kit.ended(JobState.ROLLING_BACK)
    left = Leftover(what="volume x", cause="busy", command="rm x")
    assert kit.jobs.transition(job.id, JobState.ROLLBACK_FAILED, leftovers=[left]).leftovers == (left,)
    kit.asks.roll_back(job.id)
    assert kit.jobs.transition(job.id, JobState.ROLLED_BACK).leftovers == ()


def test_steps_count_their_attempts(kit: Kit) -> None:
    job = kit.running()
    assert kit.jobs.step_started(job.id, "transfer") == 1
    kit.jobs.step_ended(job.id, "transfer", "failed", error={"code": "transient", "message": "cut"})
    failed = next(step for step in kit.jobs.job(job.id).steps if step.name == "transfer")
    assert (failed.state, failed.error) == ("failed", {"code": "transient", "message": "cut"})
    assert kit.jobs.step_started(job.id, "transfer") == 2
    assert kit.jobs.job(job.id).phase == "transfer"
    kit.jobs.step_ended(job.id, "transfer", "succeeded", detail="2 disks")
    step = next(step for step in kit.jobs.job(job.id).steps if step.name == "transfer")
    assert (step.state, step.attempts, step.error, step.detail) == ("succeeded", 2, None, "2 disks")
    assert step.started_at == failed.started_at
    assert len(kit.events(job.id, "job.step")) == 4


def test_unknown_steps_and_states_are_refused(kit: Kit) -> None:
    job = kit.running()
    with pytest.raises(NotFound):
        kit.jobs.step_started(job.id, "dance")
    with pytest.raises(ValidationError):
        kit.jobs.step_ended(job.id, "transfer", "perhaps")
    assert kit.events(job.id, "job.step") == []


def test_facts_are_recorded_and_data_merged(kit: Kit) -> None:
    job = kit.running()
    vm = VM(id="vm-1", name="ü </name>", uuid="u", power_state=PowerState.ON, memory_bytes=1 << 30)
    before = SourceBefore(power_state=PowerState.ON, annotation="mine", seen_at=NOW)
    kit.jobs.record(job.id, vm=vm, before=before, off_since=NOW, domain_uuid="d", data={"a": 1})
    boot = Boot(kind="serial", detail="login", seconds=3.5)
    concern = Concern(code="c", severity="info", cause="x")
    kit.jobs.record(job.id, boot=boot, concerns=[concern], data={"b": 2})
    found = kit.jobs.job(job.id)
    assert (found.vm, found.before, found.off_since, found.domain_uuid) == (vm, before, NOW, "d")
    assert (found.boot, found.concerns, found.data) == (boot, (concern,), {"a": 1, "b": 2})


def test_what_has_its_own_rule_cannot_be_recorded(kit: Kit) -> None:
    job = kit.running()
    with pytest.raises(TypeError):
        kit.jobs.record(job.id, state=JobState.SUCCEEDED)
    assert kit.jobs.job(job.id).state is JobState.RUNNING


def test_progress_is_summed_over_disks(kit: Kit) -> None:
    job = kit.running()
    disks = [
        DiskProgress(key=2000 + i, label=f"disk {i}", capacity_bytes=100, bytes_done=10, bytes_skipped=5, wire_bytes=4)
        for i in range(2)
    ]
    kit.jobs.progress(job.id, disks, 2.5, 40.0)
    found = kit.jobs.job(job.id)
    assert found.disks == tuple(disks)
    progress = found.progress
    assert (progress.bytes_done, progress.bytes_total, progress.bytes_skipped, progress.wire_bytes) == (20, 200, 10, 8)
    assert (progress.rate, progress.eta_s) == (2.5, 40.0)
    assert len(kit.events(job.id, "job.progress")) == 1


def test_artefacts_are_kept_first_as_intent_then_as_fact(kit: Kit) -> None:
    job = kit.running()
    kit.jobs.keep(job.id, Artefact(kind="volume", name="a"))
    kit.jobs.keep(job.id, Artefact(kind="volume", name="b"))
    kit.jobs.keep(job.id, Artefact(kind="volume", name="a", made=True, data={"path": "/x"}))
    assert [(a.name, a.made) for a in kit.jobs.job(job.id).artefacts] == [("a", True), ("b", False)]
    kit.jobs.drop(job.id, "volume", "a")
    kit.jobs.drop(job.id, "volume", "a")
    assert [a.name for a in kit.jobs.job(job.id).artefacts] == ["b"]


def test_events_are_appended_in_order(kit: Kit) -> None:
    job = kit.running()
    kit.jobs.event(job.id, "job.log", "one", level="warning", line=1)
    kit.jobs.event(job.id, "job.log", "two")
    found = kit.events(job.id, "job.log")
    assert [(e.message, e.level, e.data) for e in found] == [("one", "warning", {"line": 1}), ("two", "info", {})]
    assert found[0].id < found[1].id


@pytest.mark.parametrize(
    ("path", "options", "free"),
    [
        ((), MoveOptions(), False),
        ((JobState.SUCCEEDED,), MoveOptions(), True),
        ((JobState.ROLLING_BACK,), MoveOptions(), False),
        ((JobState.ROLLING_BACK, JobState.CANCELLED), MoveOptions(), True),
        ((JobState.ROLLING_BACK, JobState.FAILED), MoveOptions(), True),
        ((JobState.FAILED,), HOLD, False),
        ((JobState.ROLLING_BACK, JobState.ROLLED_BACK), HOLD, True),
        ((JobState.ROLLING_BACK, JobState.ROLLBACK_FAILED), MoveOptions(), False),
    ],
)
def test_one_active_job_per_vm(kit: Kit, path: tuple[JobState, ...], options: MoveOptions, free: bool) -> None:
    first = kit.ended(*path, options=options)
    if free:
        assert kit.submit(source=1).state is JobState.QUEUED
        return
    for source in (0, 1):  # the second registration is of the same vCenter
        with pytest.raises(Conflict, match=first.id) as caught:
            kit.submit(source=source)
        assert caught.value.code == "vm_has_job"
        if path and path[-1] is JobState.FAILED:
            assert "retry" in caught.value.remedy
            assert "roll it back" in caught.value.remedy
    kit.submit("vm-2")


def test_a_retry_is_a_new_run_and_takes_the_vm_again(kit: Kit) -> None:
    job = kit.running()
    kit.jobs.step_started(job.id, "preflight")
    kit.jobs.step_ended(job.id, "preflight", "succeeded")
    kit.jobs.transition(job.id, JobState.ROLLING_BACK, error={"code": "x", "message": "x"})
    kit.jobs.transition(job.id, JobState.FAILED)
    again = kit.asks.retry(job.id)
    assert (again.state, again.run, again.error, again.ended_at) == (JobState.QUEUED, 2, None, None)
    assert again.finished_steps() == ()
    assert again.workflow_id != job.workflow_id
    with pytest.raises(Conflict):
        kit.submit()
    assert kit.admit() == [job.id]


def test_a_retry_of_a_held_job_keeps_what_is_finished(kit: Kit) -> None:
    job = kit.running(options=HOLD)
    kit.jobs.record(job.id, domain_uuid="d", off_since=NOW, data={"k": 1})
    for step, state in (("preflight", "succeeded"), ("shutdown", "skipped"), ("transfer", "failed")):
        kit.jobs.step_started(job.id, step)
        kit.jobs.step_ended(job.id, step, state)
    kit.jobs.transition(job.id, JobState.FAILED)
    again = kit.asks.retry(job.id)
    assert again.finished_steps() == ("preflight", "shutdown")
    assert next(step for step in again.steps if step.name == "transfer").state == "pending"
    assert (again.domain_uuid, again.off_since, again.data) == ("d", NOW, {"k": 1})


def test_a_retry_is_refused_while_another_job_has_the_vm(kit: Kit) -> None:
    job = kit.ended(JobState.ROLLING_BACK, JobState.FAILED)
    other = kit.submit()
    with pytest.raises(Conflict, match=other.id):
        kit.asks.retry(job.id)
    assert kit.jobs.job(job.id).state is JobState.FAILED


def test_only_a_failed_job_is_retried(kit: Kit) -> None:
    job = kit.ended(JobState.SUCCEEDED)
    with pytest.raises(Conflict):
        kit.asks.retry(job.id)


def test_a_rollback_waits_for_admission(kit: Kit) -> None:
    job = kit.ended(JobState.SUCCEEDED)
    undone = kit.asks.roll_back(job.id)
    assert (undone.state, undone.purpose, undone.run) == (JobState.ROLLING_BACK, "rollback", 2)
    assert undone.ended_at is None
    seen: list[Job] = []
    assert kit.workers.admit(1, lambda _transaction, job: seen.append(job)) == [job.id]
    assert [(item.workflow_id, item.state) for item in seen] == [(f"{job.id}.2", JobState.ROLLING_BACK)]
    assert kit.admit() == []
    with pytest.raises(Conflict):
        kit.asks.roll_back(job.id)
    with pytest.raises(Conflict):
        kit.asks.cancel(job.id)
    kit.jobs.transition(job.id, JobState.ROLLED_BACK)
    with pytest.raises(Conflict):
        kit.asks.roll_back(job.id)


def test_a_waiting_job_is_cancelled_at_once(kit: Kit) -> None:
    job = kit.submit()
    assert kit.asks.cancel(job.id).state is JobState.CANCELLED
    assert kit.asks.cancel(job.id).state is JobState.CANCELLED
    assert kit.admit() == []
    kit.submit()


def test_a_running_job_is_asked_to_stop(kit: Kit) -> None:
    job = kit.running()
    assert kit.jobs.asked(job.id) == (JobState.RUNNING, False, False)
    assert kit.asks.cancel(job.id).state is JobState.RUNNING
    assert kit.jobs.asked(job.id) == (JobState.RUNNING, True, False)
    with pytest.raises(Conflict):
        kit.asks.pause(job.id)
    with pytest.raises(NotFound):
        kit.jobs.asked("none")


def test_a_waiting_job_is_paused_at_once_and_keeps_its_place(kit: Kit) -> None:
    jobs = [kit.submit("vm-1"), kit.submit("vm-2")]
    paused = kit.asks.pause(jobs[0].id)
    assert (paused.state, paused.pause.by) == (JobState.PAUSED, "user")
    assert kit.asks.pause(jobs[0].id) == paused
    assert kit.admit(1) == [jobs[1].id]
    with pytest.raises(Conflict):
        kit.submit("vm-1")
    resumed = kit.asks.resume(jobs[0].id)
    assert (resumed.state, resumed.pause) == (JobState.QUEUED, None)
    third = kit.submit("vm-3")
    kit.jobs.transition(jobs[1].id, JobState.SUCCEEDED)
    assert kit.admit(1) == [jobs[0].id]
    assert kit.jobs.job(third.id).state is JobState.QUEUED


def test_a_running_job_is_asked_to_pause_and_rests_when_its_step_was_left(kit: Kit) -> None:
    job = kit.running()
    kit.jobs.step_started(job.id, "transfer")
    assert kit.jobs.rest(job.id, "transfer").state is JobState.RUNNING
    asked = kit.asks.pause(job.id)
    assert (asked.state, asked.phase) == (JobState.RUNNING, "transfer")
    assert kit.jobs.asked(job.id) == (JobState.RUNNING, False, True)
    rests = kit.jobs.rest(job.id, "transfer")
    assert (rests.state, rests.phase, rests.pause.by) == (JobState.PAUSED, "transfer", "user")
    assert kit.jobs.job(job.id) == rests
    assert next(step.state for step in rests.steps if step.name == "transfer") == "paused"
    assert "transfer" not in rests.finished_steps()
    assert kit.jobs.wake(job.id).state is JobState.PAUSED  # room is not what it waits for
    assert [event.data["state"] for event in kit.events(job.id, "job.state")] == ["queued", "running", "paused"]


def test_a_pause_can_be_taken_back(kit: Kit) -> None:
    job = kit.running()
    kit.asks.pause(job.id)
    assert kit.asks.resume(job.id).state is JobState.RUNNING
    assert kit.jobs.asked(job.id).pause is False
    assert kit.jobs.rest(job.id, "transfer").state is JobState.RUNNING
    assert kit.asks.resume(job.id).state is JobState.RUNNING


def test_a_paused_job_takes_no_place_and_waits_for_one_when_it_is_resumed(kit: Kit) -> None:
    handed: list[str] = []

    def admit() -> list[str]:
        return kit.workers.admit(1, lambda _transaction, job: handed.append(job.workflow_id))

    first, second = kit.submit("vm-1"), kit.submit("vm-2")
    assert admit() == [first.id]
    kit.asks.pause(first.id)
    kit.jobs.rest(first.id, "transfer")
    assert admit() == [second.id]
    assert kit.asks.resume(first.id).state is JobState.QUEUED
    assert admit() == []
    kit.jobs.transition(second.id, JobState.SUCCEEDED)
    assert admit() == [first.id]
    assert kit.jobs.job(first.id).state is JobState.RUNNING
    assert handed == [first.workflow_id, second.workflow_id]  # the engine has the first one's run all the while


@pytest.mark.parametrize("resumed", [False, True])
def test_a_paused_job_that_was_begun_is_undone_by_whoever_has_it_in_hand(kit: Kit, resumed: bool) -> None:
    job = kit.running()
    kit.asks.pause(job.id)
    kit.jobs.rest(job.id, "transfer")
    if resumed:
        kit.asks.resume(job.id)
    cancelled = kit.asks.cancel(job.id)
    assert (cancelled.state, cancelled.run) == (JobState.QUEUED if resumed else JobState.PAUSED, 1)
    assert kit.jobs.asked(job.id).stop is True
    with pytest.raises(Conflict):
        kit.asks.resume(job.id)
    assert kit.jobs.transition(job.id, JobState.ROLLING_BACK).pause is None
    with pytest.raises(Conflict):
        kit.asks.pause(job.id)
    kit.jobs.transition(job.id, JobState.CANCELLED)


def test_a_paused_job_that_was_not_begun_is_cancelled_at_once(kit: Kit) -> None:
    job = kit.submit()
    kit.asks.pause(job.id)
    assert kit.asks.cancel(job.id).state is JobState.CANCELLED
    for call in (kit.asks.pause, kit.asks.resume):
        with pytest.raises(Conflict):
            call(job.id)
    kit.submit()


def test_a_job_that_waits_for_room_is_woken_unless_the_user_paused_it(kit: Kit) -> None:
    room = Pause(by="space", since=NOW, detail="the pool is full", path="/pool", resume_at_bytes=1 << 30)
    error = {"code": "no_space", "message": "full"}
    job = kit.running()
    kit.jobs.step_started(job.id, "transfer")
    rests = kit.jobs.rest(job.id, "transfer", room=room, error=error)
    assert rests.state is JobState.PAUSED
    assert rests.pause is not None
    assert (rests.pause.by, rests.pause.path, rests.pause.resume_at_bytes) == ("space", "/pool", 1 << 30)
    assert next(step.error for step in rests.steps if step.name == "transfer") == error
    assert rests.error is None
    assert kit.jobs.wake(job.id).state is JobState.QUEUED
    assert kit.admit() == [job.id]
    kit.jobs.rest(job.id, "transfer", room=room)
    assert kit.asks.pause(job.id).pause.by == "user"
    assert kit.jobs.wake(job.id).state is JobState.PAUSED


def test_limits_that_concern_a_job(kit: Kit) -> None:
    night = Window(start="22:00", end="06:00", bytes_per_second=5000)
    submitted = kit.make()
    own = ScopedLimit(scope="job", subject=submitted.id, bytes_per_second=1000)
    job, other = kit.asks.submit(submitted, own), kit.submit("vm-2", source=1)
    assert kit.jobs.limits(job.id) == [own]
    service = ScopedLimit(scope="service", windows=(night,), zone="Europe/Berlin")
    source = ScopedLimit(scope="source", subject=kit.source_ids[0], bytes_per_second=3000)
    for limit in (service, source, own.model_copy(update={"bytes_per_second": 2000})):
        kit.limits.set(limit)
    found = {limit.scope: limit for limit in kit.jobs.limits(job.id)}
    assert (found["service"], found["source"], found["job"].bytes_per_second) == (service, source, 2000)
    assert kit.jobs.limits(other.id) == [service]
    for scope, subject in (("service", ""), ("source", kit.source_ids[0]), ("source", "none")):
        kit.limits.clear(scope, subject)
    assert [limit.scope for limit in kit.jobs.limits(job.id)] == ["job"]
    with pytest.raises(NotFound):
        kit.jobs.limits("none")


def test_jobs_that_share_a_pool_are_found_under_any_name_of_it(kit: Kit) -> None:
    same, other = kit.add_target("same", "default"), kit.add_target("other", "fast")
    jobs = [kit.submit(f"vm-{number}", target=target) for number, target in enumerate(["", same, other, ""])]
    kit.asks.pause(jobs[0].id)
    kit.asks.cancel(jobs[3].id)
    assert [job.id for job in kit.jobs.sharing_pool(jobs[1].id)] == [jobs[0].id, jobs[1].id]
    assert [job.id for job in kit.jobs.sharing_pool(jobs[2].id)] == [jobs[2].id]


def test_a_job_shares_the_pool_that_it_asks_for(kit: Kit) -> None:
    same, fast = kit.add_target("same", "default"), kit.add_target("fast", "fast")
    to_fast, to_default = MoveOptions(pool="fast"), MoveOptions(pool="default")
    own = kit.submit("vm-1", target=fast)
    asked = kit.submit("vm-2", to_fast)
    moved_away = kit.submit("vm-3", to_default, target=fast)
    plain = kit.submit("vm-4", target=same)
    assert [job.id for job in kit.jobs.sharing_pool(own.id)] == [own.id, asked.id]
    assert [job.id for job in kit.jobs.sharing_pool(asked.id)] == [own.id, asked.id]
    assert [job.id for job in kit.jobs.sharing_pool(moved_away.id)] == [moved_away.id, plain.id]


def test_a_retry_of_a_job_that_was_paused_starts_unpaused(kit: Kit) -> None:
    job = kit.running()
    kit.asks.pause(job.id)
    kit.jobs.transition(job.id, JobState.ROLLING_BACK)
    kit.jobs.transition(job.id, JobState.FAILED)
    again = kit.asks.retry(job.id)
    assert (again.state, again.pause) == (JobState.QUEUED, None)
    assert kit.admit() == [job.id]


def test_cancelling_a_retry_that_holds_something_undoes_it(kit: Kit) -> None:
    job = kit.running(options=HOLD)
    kit.jobs.keep(job.id, Artefact(kind="volume", name="a", made=True))
    kit.jobs.transition(job.id, JobState.FAILED)
    kit.asks.retry(job.id)
    cancelled = kit.asks.cancel(job.id)
    assert (cancelled.state, cancelled.purpose, cancelled.run) == (JobState.ROLLING_BACK, "rollback", 3)
    assert kit.admit() == [job.id]


def test_admission_is_bounded_and_oldest_first(kit: Kit) -> None:
    jobs = [kit.submit(f"vm-{number}") for number in range(4)]
    assert kit.admit(2) == [jobs[0].id, jobs[1].id]
    assert kit.admit(2) == []
    kit.jobs.transition(jobs[1].id, JobState.ROLLING_BACK)
    assert kit.admit(2) == []
    kit.jobs.transition(jobs[1].id, JobState.CANCELLED)
    assert kit.admit(2) == [jobs[2].id]


def test_an_admission_that_cannot_be_enqueued_did_not_happen(kit: Kit) -> None:
    jobs = [kit.submit("vm-1"), kit.submit("vm-2")]

    def enqueue(_transaction: Any, job: Job) -> None:
        if job.id == jobs[1].id:
            raise RuntimeError("engine is away")

    with pytest.raises(RuntimeError):
        kit.workers.admit(2, enqueue)
    assert [kit.jobs.job(job.id).state for job in jobs] == [JobState.QUEUED, JobState.QUEUED]
    assert kit.admit(2) == [job.id for job in jobs]


def test_two_workers_never_admit_the_same_job(kit: Kit) -> None:
    expected = {kit.submit(f"vm-{number}").id for number in range(12)}
    taken: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(6):
            taken.extend(kit.admit(12))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(expected)


def test_concurrent_writers_lose_nothing(kit: Kit) -> None:
    job = kit.running()

    def write(worker: int) -> None:
        for number in range(10):
            kit.jobs.keep(job.id, Artefact(kind="volume", name=f"{worker}-{number}"))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kit.jobs.job(job.id).artefacts) == 40


def test_heartbeats_are_seen_by_all(kit: Kit) -> None:
    one = Beat(executor="e1", count=1, boot_id="b", pid=10, pid_started=1 << 40)
    two = Beat(executor="e2", count=1, boot_id="b", pid=11, pid_started=5, left=True)
    assert kit.workers.beat(one) == [one]
    kit.workers.beat(two)
    later = one.model_copy(update={"count": 2})
    assert kit.workers.beat(later) == [later, two]
    kit.workers.forget("e2")
    assert kit.workers.beat(later) == [later]


def test_operations_are_claimed_once_and_come_back_from_the_dead(kit: Kit) -> None:
    asked = kit.operations.ask("check_source", kit.source_ids[0])
    claimed = kit.workers.claim_operation("e1")
    assert claimed is not None
    assert (claimed.id, claimed.state) == (asked.id, "running")
    assert kit.workers.claim_operation("e2") is None
    kit.workers.forget("e1")
    again = kit.workers.claim_operation("e2")
    assert again is not None
    kit.workers.end_operation(again.id, result={"ok": True})
    kit.workers.forget("e2")
    assert kit.workers.claim_operation("e3") is None


def test_what_workers_saw_is_saved(kit: Kit) -> None:
    check = Check(name="reachable", ok=True, detail="yes")
    kit.workers.save_source_checks(kit.source_ids[0], "", [check])
    kit.workers.save_target_facts(kit.target_id, TargetFacts(networks=("default",)), [check])
    kit.submit()
    with pytest.raises(Conflict):  # the identity known before was not forgotten
        kit.submit(source=1)


def test_no_secret_is_in_the_database_in_clear(tmp_path: Path) -> None:
    kit = _sqlite(tmp_path)
    kit.submit()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in tmp_path.iterdir():
        assert PASSWORD.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
