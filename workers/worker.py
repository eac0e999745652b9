"""One worker process: starts what plans have to start, takes waiting jobs, carries out operations, beats, and stops in
good order.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from app.domain.errors import TransientError
from app.domain.job import Job
from app.ports.engine import Engine
from app.ports.store import JobStore, WorkerStore
from workers import steps
from workers.liveness import Liveness
from workers.operations import Operations
from workers.runner import RetryPolicy, Runner
from workers.steps.context import Adapters
from workers.workflow import make_saga, spec_of

ADMIT_EVERY_S = 0.5
PLANS_EVERY_S = 1.0
PARK_WITHIN_S = 20.0  # how long a stop waits for steps to notice; what has not parked by then dies with the process


def new_executor() -> str:
    """A new id at every process start: two live processes with one id would run live work twice."""
    return str(uuid.uuid4())


class Worker:
    def __init__(
        self,
        jobs: JobStore,
        workers: WorkerStore,
        engine: Engine,
        adapters: Adapters,
        *,
        look_at_plans: Callable[[], None],
        executor: str,
        max_jobs: int,
        lease_s: float,
        retry: RetryPolicy,
    ) -> None:
        self._workers = workers
        self._engine = engine
        self._look_at_plans = look_at_plans
        self._executor = executor
        self._max_jobs = max_jobs
        self._stopping = threading.Event()
        self._runner = Runner(jobs, adapters, steps.ALL, executor=executor, stopping=self._stopping, retry=retry)
        self._operations = Operations(jobs, workers, adapters)
        self._liveness = Liveness(workers, executor, lease_s, self._take_over)
        self._log = structlog.get_logger("worker")

    def run(self) -> None:
        """Work until `stop` is called."""
        self._engine.start(make_saga(self._runner))
        self._liveness.beat_once()
        self._liveness.start()
        self._log.info("worker ready", executor=self._executor)
        looked = float("-inf")
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="operation") as pool:
            while not self._stopping.wait(ADMIT_EVERY_S):
                try:
                    if time.monotonic() - looked >= PLANS_EVERY_S:
                        looked = time.monotonic()
                        self._look_at_plans()
                    self._workers.admit(self._max_jobs, self._enqueue)
                    while (operation := self._workers.claim_operation(self._executor)) is not None:
                        pool.submit(self._operations.carry_out, operation)
                except TransientError as error:
                    self._log.warning("could not look for work", cause=error.message)
        self._engine.stop(PARK_WITHIN_S)
        self._liveness.leave()
        self._log.info("worker stopped", executor=self._executor)

    def stop(self) -> None:
        """Running steps park: nothing is undone, the jobs go on when a worker is there again."""
        self._stopping.set()

    def _enqueue(self, transaction: Any, job: Job) -> None:
        self._engine.enqueue(transaction, job.workflow_id, spec_of(job))

    def _take_over(self, executor: str) -> None:
        for workflow in self._engine.recover(executor):
            self._log.info("going on with a dead worker's job", workflow=workflow, was=executor)
