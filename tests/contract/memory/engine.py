"""The Engine port in memory: checkpoints in a dict that outlives the engine, as a database would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import Parked
from app.ports.engine import Saga


@dataclass
class Workflow:
    id: str
    spec: dict[str, Any]
    executor: str = ""
    checkpoints: list[tuple[str, Any]] = field(default_factory=list)
    ended: bool = False


@dataclass
class MemoryDatabase:
    """What survives an engine."""

    workflows: dict[str, Workflow] = field(default_factory=dict)


class MemoryEngine:
    def __init__(self, database: MemoryDatabase, executor: str) -> None:
        self._database = database
        self._executor = executor
        self._saga: Saga | None = None
        self._threads: list[threading.Thread] = []

    def start(self, saga: Saga) -> None:
        self._saga = saga

    def enqueue(self, transaction: Any, workflow_id: str, spec: dict[str, Any]) -> None:
        if workflow_id not in self._database.workflows:
            self._database.workflows[workflow_id] = Workflow(workflow_id, spec)
            self._run(self._database.workflows[workflow_id])

    def recover(self, executor: str) -> list[str]:
        found = [w for w in self._database.workflows.values() if w.executor == executor and not w.ended]
        for workflow in found:
            self._run(workflow)
        return [workflow.id for workflow in found]

    def stop(self, timeout_s: float) -> None:
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, workflow: Workflow) -> None:
        workflow.executor = self._executor
        thread = threading.Thread(target=self._carry_out, args=(workflow,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _carry_out(self, workflow: Workflow) -> None:
        replay = iter(list(workflow.checkpoints))

        def run_step(name: str, function: Callable[[], Any]) -> Any:
            for kept, result in replay:
                if kept != name:
                    raise AssertionError(f"the saga is not deterministic: {name} where {kept} was")
                return result
            result = function()
            workflow.checkpoints.append((name, result))
            return result

        assert self._saga is not None
        try:
            self._saga(run_step, workflow.spec)
        except Parked:
            return
        workflow.ended = True
