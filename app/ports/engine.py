"""Durable execution of sagas: a finished step is never run again, whoever goes on after a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

StepRunner = Callable[[str, Callable[[], Any]], Any]
"""run(name, function): call it once and checkpoint its JSON-like result; after a crash, answer from the checkpoint."""

Saga = Callable[[StepRunner, dict[str, Any]], None]
"""A deterministic body: every effect and every decision that may differ goes through a step."""


class Engine(Protocol):
    def start(self, saga: Saga) -> None:
        """Begin to work on what is enqueued."""
        ...

    def enqueue(self, transaction: Any, workflow_id: str, spec: dict[str, Any]) -> None:
        """Hand over a run inside the caller's own transaction; the same id twice is once."""
        ...

    def recover(self, executor: str) -> list[str]:
        """Take over the unfinished runs of an executor that is known to be dead; answers their ids."""
        ...

    def stop(self, timeout_s: float) -> None:
        """Take no new work, wait for running steps to park, leave unfinished runs to be recovered."""
        ...
