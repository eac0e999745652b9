"""`vmferry up` keeps a worker alive: one that ended, or fenced itself off, is started again.

The worker is a process of its own, so that a fault in a library that handles disks does not take the API with it. It
is killed by the kernel when `up` is, even by kill -9 (app/process.py); its unfinished jobs go on with the next one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress

from app.cli.passwords import PASSWORD_VARIABLE
from app.domain.errors import ToolTimedOut
from app.log import get_logger
from app.process import Process, spawn

GRACE_S = 60.0  # to stop at the next safe point
POLL_S = 0.5
BACKOFF_S = (1.0, 30.0)  # first pause before a restart, and the longest
STEADY_S = 60.0  # one that ran this long starts anew with the first pause

_NOT_FOR_WORKERS = {"VMFERRY_TOKEN", PASSWORD_VARIABLE}


class Supervisor(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="supervisor")
        self._stopping = threading.Event()
        self._log = get_logger("supervisor")

    def run(self) -> None:
        pause, longest = BACKOFF_S
        while not self._stopping.is_set():
            started = time.monotonic()
            with spawn([sys.executable, "-P", "-m", "app", "worker"], env=_environment(), own_stderr=False) as child:
                while child.alive() and not self._stopping.wait(POLL_S):
                    pass
                if self._stopping.is_set():
                    self._end(child)
                    return
                code = child.wait(0)
            if time.monotonic() - started > STEADY_S:
                pause = BACKOFF_S[0]
            self._log.warning("the worker ended and is started again", exit_code=code, pause_s=pause)
            self._stopping.wait(pause)
            pause = min(2 * pause, longest)

    def stop(self) -> None:
        """Ask the worker to stop at the next safe point, and wait until it has."""
        self._stopping.set()
        self.join()

    def _end(self, child: Process) -> None:
        os.kill(child.pid, signal.SIGTERM)
        with suppress(ToolTimedOut):
            child.wait(GRACE_S)


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith("VMFERRY_") and k not in _NOT_FOR_WORKERS}
