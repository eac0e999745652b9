"""An SSH server for tests: Debian's sshd as a child, with a host key, a login key and a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.process import Process, run, spawn

SSHD = "/usr/sbin/sshd"
START_SECONDS = 20.0


@dataclass(frozen=True)
class Sshd:
    """A server that lets the owner of `identity` in, as the user who runs the tests."""

    server: Process
    address: str
    port: int
    known_hosts: Path
    identity: Path

    def stop(self) -> None:
        """End it with its sessions, which would go on without it."""
        sessions = run(["pgrep", "-P", str(self.server.pid)], ok=(0, 1)).text.split()
        self.server.stop()
        for pid in sessions:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@contextmanager
def sshd(folder: Path, address: str) -> Iterator[Sshd]:
    for name in ("host", "login"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    port = _free_port(address)
    known_hosts = folder / "known%hosts"  # libssh takes a % for more than it is
    write_known_hosts(known_hosts, address, port, folder / "host.pub")
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it when it runs as root
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress {address}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/login.pub\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    with spawn([SSHD, "-D", "-e", "-f", config]) as server:
        _until_it_listens(server, address, port)
        made = Sshd(server, address, port, known_hosts, folder / "login")
        try:
            yield made
        finally:
            made.stop()


def write_known_hosts(path: Path, address: str, port: int, key: Path) -> None:
    path.write_text(f"[{address}]:{port} {key.read_text()}")


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _until_it_listens(server: Process, address: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            if not server.alive() or time.monotonic() > deadline:
                raise server.failure() from None
            time.sleep(0.05)
        else:
            return
