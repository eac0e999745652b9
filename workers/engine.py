"""The Engine port on DBOS Transact: sagas in the same SQLite file or database as everything else.

DBOS is one per process, and so is DbosEngine. What its open package leaves to us, noticing a dead worker, is in
workers/liveness.py. Why DBOS, and what bites: docs/adr/0002-durable-engine.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import structlog
from dbos import DBOS, DBOSClient

from app.ports.engine import Saga
from workers.liveness import FENCED

QUEUE = "vmferry-jobs"
WORKFLOW = "vmferry-saga"
# Not a hash of the code (DBOS's default): a job that was queued by an older release must still be taken up.
VERSION = "1"


class DbosEngine:
    """`executor` must be a new UUID at every process start: two live processes with one id run live work twice."""

    def __init__(self, database_url: str, executor: str, *, poll_s: float = 0.5) -> None:
        self._url = database_url
        self._executor = executor
        self._poll_s = poll_s
        self._client: DBOSClient | None = None

    def start(self, saga: Saga) -> None:
        DBOS(
            config={
                "name": "vmferry",
                "system_database_url": self._url,
                "executor_id": self._executor,
                "application_version": VERSION,
                "console_log_level": "ERROR",
                "log_level": "WARNING",
            }
        )

        # No bound on recoveries: DBOS forgets a run that reaches it, and its job would hold its VM for ever. A paused
        # one may see any number of workers come and go. Nor on threads: what runs is bounded by admission, and a paused
        # job's thread, which only sleeps, must not keep others from running.
        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def run(spec: dict[str, Any]) -> None:
            saga(_run_step, spec)

        DBOS.launch()
        DBOS.register_queue(QUEUE, polling_interval_sec=self._poll_s)
        self._client = DBOSClient(system_database_url=self._url)

    def enqueue(self, transaction: Any, workflow_id: str, spec: dict[str, Any]) -> None:
        if self._client is None:
            raise RuntimeError("the engine is not started")
        self._client.enqueue_in_transaction(
            transaction,
            {"queue_name": QUEUE, "workflow_name": WORKFLOW, "workflow_id": workflow_id, "app_version": VERSION},
            spec,
        )

    def recover(self, executor: str) -> list[str]:
        # Private in DBOS, which is pinned for it: tests/contract/test_engine.py and the kill tests hold it in place.
        return [handle.get_workflow_id() for handle in DBOS._recover_pending_workflows([executor])]

    def stop(self, timeout_s: float) -> None:
        DBOS.destroy(workflow_completion_timeout_sec=int(timeout_s))
        if self._client is not None:
            self._client.destroy()
            self._client = None


def _run_step(name: str, function: Callable[[], Any]) -> Any:
    def step() -> Any:
        try:
            return function()
        except Exception:  # noqa: BLE001
            # Steps answer their errors: what comes through here is our own database, away or full. DBOS would keep it
            # as the step's result for ever; ended now, the run is found unfinished by the next worker and goes on.
            structlog.get_logger("engine").exception("a step broke off: this worker ends", step=name)
            os._exit(FENCED)

    return DBOS.run_step({"name": name}, step)
