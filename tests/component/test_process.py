"""What a tool leaves behind when it is killed, with its caller or alone: nothing, if it was contained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from app.domain.errors import Cancelled
from app.process import run

# Starts a daemon in a session of its own, as virt-v2v does with qemu-nbd, and stays.
TOOL = ["sh", "-c", 'setsid sleep "$0" & sleep 1000']
CALLER = """
import sys
from app.process import run
run(["sh", "-c", 'setsid sleep "$0" & sleep 1000', sys.argv[1]], contained=True)
"""


def running(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[:1] == [b"sleep"] and mark.encode() in words:
                found.append(int(entry.name))
    return found


def wait_for(mark: str, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(running(mark)) != count:
        assert time.monotonic() < deadline, running(mark)
        time.sleep(0.1)


@pytest.fixture
def mark() -> str:
    return str(100000 + uuid.uuid4().int % 100000)


def test_a_cancelled_tool_takes_its_daemon_with_it(mark: str) -> None:
    def cancel() -> None:
        if running(mark):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run([*TOOL, mark], contained=True, cancel=cancel)
    wait_for(mark, 0)


def test_a_killed_caller_takes_the_tool_and_its_daemon_with_it(mark: str) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER, mark])
    wait_for(mark, 1)
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait()
    wait_for(mark, 0)
