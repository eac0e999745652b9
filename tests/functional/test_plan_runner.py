"""Plans run over a real store: jobs are started as waves, windows, limits and groups allow, whoever dies meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.domain import plan_verbs
from app.domain.errors import Conflict, TransientError
from app.domain.models import PowerState
from app.domain.plan import Gate, ItemState, PlanState, Wave
from app.domain.states import JobState
from app.services.plan_runner import PlanRunner
from app.store.engine import sqlite_path
from app.store.paging import PageRequest
from app.store.store import open_store
from tests.functional.api import Service, facts, service, vm
from tests.functional.running_plans import NOW, Running, item, key, running
from tests.service import ROOT

S, F, Q, R, W = (
    ItemState.SUCCEEDED,
    ItemState.FAILED,
    ItemState.QUEUED,
    ItemState.RUNNING,
    ItemState.WAITING,
)

DIES = """
import itertools, os, signal, sys
from pathlib import Path
from app.services.plan_runner import PlanRunner
from app.store import requests
from app.store.store import open_store
from tests.functional.running_plans import NOW

submit, count = requests.submit, itertools.count()

def submit_and_die(*given):
    submit(*given)
    if next(count) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

requests.submit = submit_and_die
PlanRunner(open_store(sys.argv[1], Path(sys.argv[2])), places=100, now=lambda: NOW).look()
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as made:
        made.register()
        yield made


def jobs(api: Service) -> list[Any]:
    return api.store.requests.list(PageRequest(sort="created_at")).items


def test_a_plan_moves_wave_by_wave_to_its_end(api: Service) -> None:
    items = [item(1, order=2), item(2, order=1), item(3, wave="2"), item(4, include=False)]
    plan = running(api, *items, waves=(Wave(name="1", at_once=1), Wave(name="2")))
    assert set(plan.look().values()) == {W, ItemState.LEFT_OUT}
    plan.ask(plan_verbs.start)
    assert plan.look(times=3) == {"guest1": W, "guest2": Q, "guest3": W, "guest4": ItemState.LEFT_OUT}
    plan.end(2, JobState.SUCCEEDED)
    assert plan.look() == {"guest1": Q, "guest2": S, "guest3": W, "guest4": ItemState.LEFT_OUT}
    plan.end(1, JobState.SUCCEEDED)
    plan.look()
    plan.end(3, JobState.SUCCEEDED)
    plan.look()
    assert plan.state == PlanState.SUCCEEDED
    assert plan.plan.ended_at == NOW
    assert plan.plan.version == 1
    assert [job.plan_id for job in jobs(api)] == [plan.plan_id] * 3


def test_a_job_is_as_its_item_says(api: Service) -> None:
    plan = running(api, item(1, options={"target_name": "web", "cpus": 3}))
    plan.ask(plan_verbs.start)
    plan.look()
    [job] = jobs(api)
    assert (job.vm_id, job.options.target_name, job.options.cpus, job.target_name) == ("vm-1", "web", 3, "here")
    assert plan.item(1).job == job.id


def test_no_more_are_started_than_find_a_place(api: Service) -> None:
    plan = running(api, *(item(n) for n in range(1, 6)), places=2)
    api.submit("guest5")
    plan.ask(plan_verbs.start)
    assert list(plan.look(times=3).values()).count(Q) == 1
    plan.ask(plan_verbs.pause)
    plan.end(1, JobState.SUCCEEDED)
    assert list(plan.look(times=2).values()) == [S, W, W, W, W]
    plan.ask(plan_verbs.resume)
    assert list(plan.look().values()) == [S, Q, W, W, W]


def test_whoever_is_killed_while_starting_leaves_nothing_half_done(api: Service) -> None:
    plan = running(api, item(1), item(2, group="shop"), item(3, group="shop"))
    plan.ask(plan_verbs.start)
    for jobs_written in range(3):
        dies = [sys.executable, "-c", DIES, api.settings.database_url, str(api.settings.secret_key_file)]
        ended = subprocess.run([*dies, str(jobs_written)], check=False, cwd=ROOT)
        assert ended.returncode == -signal.SIGKILL
        assert jobs(api) == []
        assert set(plan.states().values()) == {W}
    assert set(plan.look().values()) == {Q}
    plan.look(times=3)
    assert len(jobs(api)) == 3


def test_workers_that_look_at_the_same_time_start_each_vm_once(api: Service) -> None:
    plan = running(api, *(item(n) for n in range(1, 6)), waves=(Wave(name="1", at_once=3),))
    plan.ask(plan_verbs.start)
    threads = [
        threading.Thread(target=PlanRunner(api.store, places=100, now=lambda: NOW).look, daemon=True) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(plan.states().values()) == [Q, Q, Q, W, W]
    assert len(jobs(api)) == 3


def test_items_are_read_again_only_when_something_may_have_changed(api: Service) -> None:
    later = NOW + timedelta(seconds=30)
    plan = running(api, item(1), item(2, wave="2"), waves=(Wave(name="1"), Wave(name="2", starts_at=later)), places=2)
    plan.ask(plan_verbs.start)
    plan.look(times=2)
    api.admit()
    plan.look(times=2)
    statements: list[str] = []
    sa.event.listen(api.store.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    def reads() -> bool:
        statements.clear()
        plan.runner.look()
        return any("plan_items" in statement for statement in statements)

    assert not reads()
    api.store.jobs.event(plan.item(1).job, "job.log", "goes on")
    assert not reads()
    plan.now = later
    assert reads()
    assert not reads()
    plan.now = NOW
    assert reads()
    plan.now = NOW + timedelta(seconds=29)
    assert not reads()
    api.store.requests.cancel(plan.item(1).job)
    assert reads()
    assert not reads()
    plan.ask(plan_verbs.pause)
    assert reads()
    plan.now = NOW + timedelta(minutes=2)
    assert reads()


def test_what_cannot_be_moved_fails_with_what_is_in_its_way(api: Service) -> None:
    api.store.workers.save_inventory(
        api.source, "vcenter-uuid", [vm(1), vm(2, power_state=PowerState.SUSPENDED), vm(4), vm(5)]
    )
    holder = api.submit("guest4")
    items = [
        item(1, options={"pool": "nvme"}),
        item(2),
        item(3),
        item(4),
        item(5, target="gone"),
        item(6, source="gone"),
    ]
    plan = running(api, *items)
    plan.ask(plan_verbs.start)
    assert set(plan.look().values()) == {F}
    errors = [plan.item(n).error or {} for n in range(1, 7)]
    assert [error["code"] for error in errors] == [
        "preflight_failed",
        "preflight_failed",
        "vm_not_found",
        "vm_has_job",
        "not_found",
        "not_found",
    ]
    assert "nvme" in errors[0]["message"]
    assert errors[3]["job"] == holder
    plan.look(times=2)
    assert plan.state == PlanState.FAILED
    told = [event for event in api.store.events.after(0, plan_id=plan.plan_id) if event.kind == "plan.item"]
    assert [event.data["key"] for event in told] == [key(n) for n in range(1, 7)]
    assert [job.id for job in jobs(api)] == [holder]


def test_a_source_that_is_another_platform_now_moves_nothing(api: Service) -> None:
    plan = running(api, item(1))
    api.store.workers.save_inventory(api.source, "another-vcenter", [vm(1)])
    plan.ask(plan_verbs.start)
    plan.look()
    assert (plan.item(1).error or {})["code"] == "source_is_another"
    assert jobs(api) == []


def test_a_group_of_which_one_cannot_be_moved_starts_not_at_all(api: Service) -> None:
    api.submit("guest2")
    plan = running(api, *(item(n, group="shop") for n in (1, 2, 3)), item(4))
    plan.ask(plan_verbs.start)
    assert plan.look(times=2) == {"guest1": ItemState.HELD, "guest2": F, "guest3": ItemState.HELD, "guest4": Q}
    assert plan.item(1).held == "guest2 of its group shop failed"
    assert len(jobs(api)) == 2


def test_a_group_rolls_back_together(api: Service) -> None:
    plan = running(api, *(item(n, group="shop") for n in (1, 2, 3)), item(4))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.SUCCEEDED)
    plan.end(2, JobState.ROLLING_BACK, JobState.FAILED)
    assert plan.look() == {"guest1": ItemState.ROLLING_BACK, "guest2": F, "guest3": R, "guest4": R}
    assert api.store.jobs.job(plan.item(3).job).stop_requested
    plan.end(1, JobState.ROLLED_BACK)
    plan.end(3, JobState.CANCELLED)
    plan.end(4, JobState.SUCCEEDED)
    assert plan.look(times=2)["guest4"] is S
    assert plan.state == PlanState.FAILED
    plan.ask(plan_verbs.retry)
    assert plan.look() == {"guest1": Q, "guest2": Q, "guest3": Q, "guest4": S}
    retried = api.store.jobs.job(plan.item(2).job)
    assert (retried.run, retried.state) == (2, JobState.QUEUED)
    assert len({plan.item(n).unit for n in (1, 2, 3)}) == 1
    for number in (1, 2, 3):
        plan.end(number, JobState.SUCCEEDED)
    plan.look()
    assert plan.state == PlanState.SUCCEEDED


def test_what_a_group_moved_long_ago_is_not_undone_by_who_joins_it(api: Service) -> None:
    plan = running(api, item(1, group="shop"), item(2, group="shop"))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.SUCCEEDED)
    plan.end(2, JobState.SUCCEEDED)
    plan.look()
    old = api.store.plans.items(plan.plan_id)
    api.store.plans.save(plan.plan, [*old, item(3, group="shop")])
    assert plan.state == PlanState.PAUSED
    plan.ask(plan_verbs.resume)
    assert plan.look() == {"guest1": S, "guest2": S, "guest3": Q}
    plan.end(3, JobState.FAILED)
    assert plan.look(times=2) == {"guest1": S, "guest2": S, "guest3": F}


def test_what_depends_on_a_failure_is_held_until_it_is_retried(api: Service) -> None:
    chain = [item(1), item(2, depends_on=[key(1)]), item(3, depends_on=[key(2)])]
    plan = running(api, *chain)
    plan.ask(plan_verbs.start)
    assert list(plan.look().values()) == [Q, W, W]
    plan.end(1, JobState.FAILED)
    assert list(plan.look().values()) == [F, ItemState.HELD, ItemState.HELD]
    assert plan.item(2).held == "it depends on guest1, which failed"
    assert plan.state == PlanState.FAILED
    plan.ask(plan_verbs.retry, [key(1)])
    assert list(plan.look().values()) == [Q, W, W]
    plan.end(1, JobState.SUCCEEDED)
    assert list(plan.look().values()) == [S, Q, W]


def test_windows_are_kept_when_the_clock_is_put_right(api: Service) -> None:
    begins, ends = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    plan = running(api, item(1), item(2), waves=(Wave(name="1", starts_at=begins, ends_at=ends, at_once=1),))
    plan.ask(plan_verbs.start)
    assert list(plan.look().values()) == [W, W]
    assert plan.plan.reason == "wave 1 starts at 2026-12-05 23:00 UTC"
    plan.now = begins
    assert list(plan.look().values()) == [Q, W]
    plan.end(1, JobState.SUCCEEDED)
    plan.now = ends
    assert list(plan.look().values()) == [S, W]
    assert plan.plan.reason == "the window of wave 1 ended at 2026-12-06 00:00 UTC with 1 VM of it left"
    plan.now = begins - timedelta(days=1)
    assert list(plan.look().values()) == [S, W]
    plan.now = ends - timedelta(seconds=1)
    assert list(plan.look().values()) == [S, Q]
    assert plan.plan.reason == ""


def test_gates(api: Service) -> None:
    waves = (Wave(name="1"), Wave(name="2", gate=Gate.MANUAL), Wave(name="3", gate=Gate.ALL_GREEN))
    plan = running(api, item(1), item(2, wave="2"), item(3, wave="3"), waves=waves)
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.SUCCEEDED)
    assert list(plan.look().values()) == [S, W, W]
    plan.ask(plan_verbs.approve, "2")
    assert list(plan.look().values()) == [S, Q, W]
    plan.end(2, JobState.FAILED)
    assert list(plan.look().values()) == [S, F, W]
    assert plan.plan.reason == "wave 3 waits until all before it has succeeded, and 1 VM did not"
    plan.ask(plan_verbs.retry)
    plan.look()
    plan.end(2, JobState.SUCCEEDED)
    assert list(plan.look().values()) == [S, S, Q]


def test_what_goes_again_of_a_wave_stops_no_later_one(api: Service) -> None:
    waves = (Wave(name="1", ends_at=NOW + timedelta(hours=1)), Wave(name="2", at_once=1), Wave(name="3"))
    plan = running(api, item(1), item(2, wave="2"), item(3, wave="2"), item(4, wave="3"), waves=waves)
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.FAILED)
    assert list(plan.look().values()) == [F, Q, W, W]
    plan.now += timedelta(hours=2)
    plan.ask(plan_verbs.retry)
    plan.end(2, JobState.SUCCEEDED)
    assert list(plan.look().values()) == [W, S, Q, W]
    assert plan.plan.reason == "the window of wave 1 ended at 2026-12-05 23:00 UTC with 1 VM of it left"
    plan.end(3, JobState.SUCCEEDED)
    assert list(plan.look(times=2).values()) == [W, S, S, W]
    later = plan.plan.model_copy(update={"waves": (Wave(name="1"), *plan.plan.waves[1:])})
    api.store.plans.save(later, api.store.plans.items(plan.plan_id))
    assert list(plan.look().values()) == [Q, S, S, W]


def test_failures_pause_a_plan_and_count_no_longer_once_it_is_resumed(api: Service) -> None:
    plan = running(api, *(item(n) for n in range(1, 6)), waves=(Wave(name="1", at_once=1, stop_after=2),))
    plan.ask(plan_verbs.start)
    for number in (1, 2):
        plan.look()
        plan.end(number, JobState.FAILED)
    assert list(plan.look().values()) == [F, F, W, W, W]
    assert plan.state == PlanState.PAUSED
    assert plan.plan.reason == "2 VMs of wave 1 failed, and it stops after 2"
    plan.ask(plan_verbs.resume)
    plan.look()
    plan.end(3, JobState.FAILED)
    assert list(plan.look().values()) == [F, F, F, Q, W]
    plan.end(4, JobState.FAILED)
    assert list(plan.look().values()) == [F, F, F, F, W]
    assert plan.state == PlanState.PAUSED


def test_a_cancel_undoes_what_moves_and_a_retry_takes_it_up_again(api: Service) -> None:
    plan = running(api, *(item(n) for n in (1, 2, 3)), waves=(Wave(name="1", at_once=2),))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.SUCCEEDED)
    assert plan.ask(plan_verbs.cancel).state is PlanState.UNDOING
    assert plan.look() == {"guest1": S, "guest2": R, "guest3": ItemState.HELD}
    plan.end(2, JobState.ROLLING_BACK, JobState.CANCELLED)
    plan.look()
    assert plan.state == PlanState.CANCELLED
    plan.ask(plan_verbs.retry)
    assert plan.look() == {"guest1": S, "guest2": Q, "guest3": Q}


def test_a_wave_is_rolled_back(api: Service) -> None:
    plan = running(api, item(1), item(2), item(3, wave="2"), waves=(Wave(name="1"), Wave(name="2")))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.SUCCEEDED)
    plan.end(2, JobState.SUCCEEDED)
    plan.look()
    with pytest.raises(Conflict) as caught:
        plan.ask(plan_verbs.roll_back, wave="1")
    assert caught.value.code == "confirmation_needed"
    plan.ask(plan_verbs.roll_back, wave="1", confirm_data_loss=True)
    assert list(plan.states().values()) == [ItemState.ROLLING_BACK, ItemState.ROLLING_BACK, Q]
    plan.end(1, JobState.ROLLED_BACK)
    plan.end(2, JobState.ROLLED_BACK)
    plan.end(3, JobState.SUCCEEDED)
    plan.look(times=2)
    assert plan.state == PlanState.FAILED
    plan.ask(plan_verbs.roll_back, confirm_data_loss=True)
    plan.look()
    plan.end(3, JobState.ROLLED_BACK)
    plan.look()
    assert plan.state == PlanState.CANCELLED


def test_what_users_do_to_jobs_by_hand_is_seen(api: Service) -> None:
    plan = running(api, item(1), item(2, depends_on=[key(1)]))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.FAILED)
    plan.look()
    assert plan.state == PlanState.FAILED
    api.store.requests.retry(plan.item(1).job)
    assert plan.look() == {"guest1": Q, "guest2": ItemState.HELD}
    assert plan.state == PlanState.RUNNING
    plan.end(1, JobState.SUCCEEDED)
    plan.look()
    assert plan.state == PlanState.FAILED
    plan.ask(plan_verbs.retry)
    plan.look()
    plan.end(2, JobState.SUCCEEDED)
    plan.look()
    assert plan.state == PlanState.SUCCEEDED
    api.store.requests.roll_back(plan.item(2).job)
    plan.look()
    assert plan.state == PlanState.UNDOING
    plan.end(2, JobState.ROLLED_BACK)
    plan.look()
    assert plan.state == PlanState.CANCELLED


def test_a_failed_item_that_was_changed_gets_a_new_job(api: Service) -> None:
    plan = running(api, item(1))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.FAILED)
    plan.look()
    first = plan.item(1).job
    api.store.plans.save(plan.plan, [item(1, options={"cpus": 2})])
    plan.ask(plan_verbs.retry)
    plan.look()
    assert plan.item(1).job != first
    assert api.store.jobs.job(plan.item(1).job).options.cpus == 2


def test_a_failed_item_whose_target_was_registered_anew_gets_a_new_job(api: Service) -> None:
    plan = running(api, item(1))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.FAILED)
    plan.look()
    first = plan.item(1).job
    api.store.targets.remove(api.target)
    again = api.http.post("/v1/targets", json={"name": "here", "networks": {"*": "default"}}).json()["id"]
    plan.ask(plan_verbs.retry)
    assert plan.look() == {"guest1": Q}
    assert plan.item(1).job != first
    assert api.store.jobs.job(plan.item(1).job).target_id == again


def test_what_cannot_be_undone_any_more_is_told_and_let_be(api: Service) -> None:
    plan = running(api, item(1, group="shop"), item(2, group="shop"))
    plan.ask(plan_verbs.start)
    plan.look()
    plan.end(1, JobState.SUCCEEDED)
    plan.end(2, JobState.FAILED)
    api.store.targets.remove(api.target)
    plan.look(times=2)
    assert plan.states() == {"guest1": S, "guest2": F}
    told = [event for event in api.store.events.after(0, plan_id=plan.plan_id) if event.kind == "plan.item"]
    assert len(told) == 1
    assert "guest1 is left as it is" in told[0].message
    assert plan.state == PlanState.FAILED


def test_a_database_that_does_not_answer_fails_no_item(api: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = running(api, item(1))
    plan.ask(plan_verbs.start)
    monkeypatch.setattr("app.store.engine.BUSY_TIMEOUT_MS", 50)
    impatient = open_store(api.settings.database_url, api.settings.secret_key_file)
    holder = sqlite3.connect(sqlite_path(api.settings.database_url), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError):
        PlanRunner(impatient, places=10, now=lambda: NOW).look()
    holder.close()
    assert plan.states() == {"guest1": W}
    assert plan.look() == {"guest1": Q}


def test_a_plan_that_cannot_be_read_stops_no_other(api: Service) -> None:
    broken = running(api, item(1))
    made = api.store.plans.save(broken.plan.model_copy(update={"id": "other", "name": "other"}), [item(2)])
    other = Running(api, made.id)
    for plan in (broken, other):
        plan.ask(plan_verbs.start)
    with sqlite3.connect(sqlite_path(api.settings.database_url)) as connection:
        connection.execute("UPDATE plans SET waves = '[{}]' WHERE id = ?", [broken.plan_id])
    assert other.look() == {"guest2": Q}
    assert len(jobs(api)) == 1


def test_facts_of_another_pool_are_judged_for_the_item(api: Service) -> None:
    both = facts().pools[0], facts().pools[0].model_copy(update={"name": "ssd", "free_bytes": 0})
    api.store.workers.save_target_facts(api.target, facts(pools=both), [])
    plan = running(api, item(1, options={"pool": "ssd"}), item(2))
    plan.ask(plan_verbs.start)
    assert plan.look() == {"guest1": F, "guest2": Q}
    assert "the pool ssd" in (plan.item(1).error or {})["message"]
