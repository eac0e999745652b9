"""Work that is not a job: checks of sources and targets, inventory refreshes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from app.domain.errors import VmferryError, describe
from app.domain.job import Operation
from app.ports.store import JobStore, WorkerStore
from workers.steps.context import Adapters


class Operations:
    """Carries out one claimed operation; a failure is recorded, never raised."""

    def __init__(self, jobs: JobStore, workers: WorkerStore, adapters: Adapters) -> None:
        self._jobs = jobs
        self._workers = workers
        self._adapters = adapters
        self._log = structlog.get_logger("operations")
        self._kinds: dict[str, Callable[[str], dict[str, Any]]] = {
            "check_source": self._check_source,
            "refresh_inventory": self._refresh_inventory,
            "check_target": self._check_target,
        }

    def carry_out(self, operation: Operation) -> None:
        try:
            result = self._kinds[operation.kind](operation.subject_id)
        except Exception as error:  # noqa: BLE001  the top of an operation: whatever it was, it must end
            if not isinstance(error, VmferryError):
                self._log.exception("operation failed by a fault of our own", operation=operation.id)
            self._workers.end_operation(operation.id, error=dict(describe(error)))
        else:
            self._workers.end_operation(operation.id, result=result)

    def _check_source(self, source_id: str) -> dict[str, Any]:
        source = self._adapters.open_source(self._jobs.source(source_id))
        try:
            checks = source.check()
            identity = source.identity() if all(check.ok for check in checks) else ""
        finally:
            source.close()
        self._workers.save_source_checks(source_id, identity, checks)
        return {"ok": all(check.ok for check in checks), "checks": [check.to_dict() for check in checks]}

    def _refresh_inventory(self, source_id: str) -> dict[str, Any]:
        source = self._adapters.open_source(self._jobs.source(source_id))
        try:
            vms, identity = source.inventory(), source.identity()
        finally:
            source.close()
        self._workers.save_inventory(source_id, identity, vms)
        return {"vms": len(vms)}

    def _check_target(self, target_id: str) -> dict[str, Any]:
        target = self._adapters.open_target(self._jobs.target(target_id))
        try:
            checks = target.check()
            facts = target.facts()
        finally:
            target.close()
        self._workers.save_target_facts(target_id, facts, checks)
        return {"ok": all(check.ok for check in checks), "checks": [check.to_dict() for check in checks]}
