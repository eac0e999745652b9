"""Composition root of a worker: the only place, beside the registries, that names concrete adapters."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from functools import partial

from app.domain.move import ConverterName
from app.log import configure
from app.services.plan_runner import PlanRunner
from app.settings import Settings
from app.store.store import open_store
from converters.compat import Compat
from converters.native import Native
from converters.virt_v2v import VirtV2vInPlace
from workers.engine import DbosEngine
from workers.runner import RetryPolicy
from workers.sources import open_source
from workers.sources.vsphere.nbdkit import NbdkitOptions
from workers.steps.context import Adapters
from workers.targets import open_target
from workers.transfer.slots import HostSlots
from workers.worker import Worker, new_executor


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def main(settings: Settings) -> int:
    """Run one worker until SIGTERM or SIGINT. The database must be at the current schema."""
    configure(settings.log_level)
    os.umask(0o077)
    store = open_store(settings.database_url, settings.secret_key_file)
    executor = new_executor()
    worker = Worker(
        store.jobs,
        store.workers,
        DbosEngine(settings.database_url, executor),
        Adapters(
            open_source=partial(
                open_source,
                nbdkit=NbdkitOptions(settings.vddk_libdir, settings.ssh_known_hosts, settings.ssh_identity),
            ),
            open_target=partial(open_target, accelerator=settings.accelerator, virtio_win=settings.virtio_win),
            converters={
                ConverterName.VIRT_V2V: VirtV2vInPlace(
                    accelerator=settings.accelerator, virtio_win=settings.virtio_win
                ),
                ConverterName.NATIVE: Native(accelerator=settings.accelerator),
                ConverterName.COMPAT: Compat(accelerator=settings.accelerator),
            },
            clock=SystemClock(),
            home=settings.home,
            transfer_workers=settings.transfer_workers,
            disk_connections=settings.disk_connections,
            slots=HostSlots(settings.host_connections),
            space_poll_s=settings.space_poll_s,
        ),
        look_at_plans=PlanRunner(store, places=settings.max_jobs).look,
        executor=executor,
        max_jobs=settings.max_jobs,
        lease_s=settings.lease_s,
        retry=RetryPolicy(settings.retry_attempts, settings.retry_backoff_s, settings.retry_backoff_max_s),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()
    return 0
