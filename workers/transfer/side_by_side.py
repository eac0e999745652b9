"""Several copies at a time; the first that fails stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context

from app.ports.source import CancelCheck


class _Stopped(BaseException):
    """Another one failed."""


def side_by_side(tasks: Sequence[Callable[[CancelCheck], None]], *, at_once: int, cancel: CancelCheck) -> None:
    """Run all, up to `at_once` at a time. Each gets a check to call often: it raises what `cancel` raises, and when
    another task has failed. Raises the first error when all have ended.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _Stopped
        cancel()

    def run(task: Callable[[CancelCheck], None]) -> None:
        try:
            check()
            task(check)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(max(1, at_once), thread_name_prefix="disk") as pool:
        futures = [pool.submit(copy_context().run, run, task) for task in tasks]
        wait(futures, return_when=FIRST_EXCEPTION)
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, _Stopped):
            raise error
