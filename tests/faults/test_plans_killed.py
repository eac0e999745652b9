"""A plan whose workers are killed again and again moves each VM once, and never more at once than it may."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain import plan_verbs
from app.domain.models import ImageOptions, Tls
from app.domain.plan import Plan, Wave
from app.domain.plan_state import ENDED
from app.domain.states import TERMINAL
from app.settings import Settings
from app.store.paging import PageRequest
from app.store.rows import now
from app.store.store import Store, open_store
from tests.functional.api import facts, vm
from tests.functional.running_plans import item
from tests.service import Service

VMS = 12
AT_ONCE = 3
KILLS = 4


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "home", VMFERRY_RETRY_ATTEMPTS="1", VMFERRY_MAX_JOBS="4") as running:
        yield running


def kill_worker(store: Store) -> None:
    with store.engine.connect() as connection:
        beats = connection.exec_driver_sql('SELECT pid FROM beats WHERE NOT "left" ORDER BY at DESC').scalars()
        pid = next(iter(beats))
    os.kill(pid, signal.SIGKILL)


def wait_for_another(store: Store, before: int) -> None:
    deadline = time.monotonic() + 60
    while store.requests.count(list(TERMINAL)) == before:
        assert time.monotonic() < deadline, "no job ended"
        time.sleep(0.1)


def test_a_plan_survives_its_workers(service: Service) -> None:
    settings = Settings(home=service.home)
    store = open_store(settings.database_url, settings.secret_key_file)
    tls = Tls(insecure=True)
    source = store.sources.add(name="lab", kind="vcenter", host="127.0.0.1:1", tls=tls, username="u", password="p")
    store.workers.save_inventory(source.id, "vcenter-uuid", [vm(n) for n in range(1, VMS + 1)])
    target = store.targets.add(
        name="here", kind="libvirt", uri="qemu:///system", pool="default", image=ImageOptions(), networks={"*": "n"}
    )
    store.workers.save_target_facts(target.id, facts(networks=("n",)), [])
    waves = (Wave(name="1", at_once=AT_ONCE),)
    plan = Plan(id=secrets.token_hex(6), name="weekend", waves=waves, created_at=now(), updated_at=now())
    store.plans.save(plan, [item(n) for n in range(1, VMS + 1)])
    store.plans.change(plan.id, lambda plan, entries: plan_verbs.start(plan, entries, now()))

    for _ in range(KILLS):
        wait_for_another(store, store.requests.count(list(TERMINAL)))
        kill_worker(store)
    deadline = time.monotonic() + 120
    while store.plans.get(plan.id).state not in ENDED:
        assert time.monotonic() < deadline, store.plans.standing(plan.id)
        time.sleep(0.5)

    jobs = store.requests.list(PageRequest(limit=100)).items
    assert sorted(job.vm_id for job in jobs) == sorted(f"vm-{n}" for n in range(1, VMS + 1))
    assert {job.plan_id for job in jobs} == {plan.id}
    assert {(job.error or {})["code"] for job in jobs} == {"source_unavailable"}  # nobody listens at port 1
    under_way: set[str] = set()
    for event in store.events.after(0, plan_id=plan.id, kind="job.state", limit=1000):
        under_way.add(event.job_id)
        if event.data["state"] in TERMINAL:
            under_way.remove(event.job_id)
        assert len(under_way) <= AT_ONCE
    assert not under_way
    store.close()
