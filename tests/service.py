"""A running `vmferry up` with a home of its own, and its command line: for the demo and for tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

ROOT = Path(__file__).resolve().parents[1]
START_S = 120.0
STOP_S = 90.0


class Service:
    """A context manager. home: VMFERRY_HOME; url: where it answers; log: what it wrote; environment: its variables."""

    def __init__(self, home: Path, **settings: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        bind = f"127.0.0.1:{free_port()}"
        self.url = f"http://{bind}"
        self.log = home / "service.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VMFERRY_")}
        path = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
        self.environment = {**kept, "PATH": path, "VMFERRY_HOME": str(home), "VMFERRY_BIND": bind, **settings}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until the API answers and a worker beats."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "up"], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"vmferry up did not get ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def run(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command of `vmferry`; a failure shows what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments], cwd=ROOT, env={**self.environment, **options.pop("env", {})},
            text=True, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"vmferry {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments: str, **options: Any) -> Any:
        """The answer of a command as JSON."""
        return json.loads(self.run(*arguments, "--output", "json", **options).stdout)

    def _ready(self) -> bool:
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(f"{self.url}/v1/health/ready", timeout=5).status_code == 200
            except requests.RequestException:
                return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
