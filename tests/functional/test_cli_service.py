"""vmferry up, serve, worker, db and doctor: what runs for long, and what looks at the machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.libvirt_host import LibvirtHost
from tests.service import Service


def children(pid: int) -> list[int]:
    found = [
        int(child) for tid in Path(f"/proc/{pid}/task").iterdir() for child in (tid / "children").read_text().split()
    ]
    return [child for child in found if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def worker_of(service: Service) -> int:
    deadline = time.monotonic() + 30
    while not (found := children(service.process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found[0]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_up_starts_a_dead_worker_again_and_stops_it_with_itself(tmp_path: Path) -> None:
    with Service(tmp_path / "home", VMFERRY_LEASE_S="5") as service:
        first = worker_of(service)
        os.kill(first, signal.SIGKILL)
        assert gone(first)
        second = worker_of(service)
        assert second != first
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 30
        assert gone(second)


def test_a_worker_does_not_outlive_a_killed_up(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        worker = worker_of(service)
        service.stop(signal.SIGKILL)
        assert gone(worker)


def test_ctrl_c_stops_up_in_good_order(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        worker = worker_of(service)
        deadline = time.monotonic() + 30
        while f"vmferry is ready on {service.url}" not in service.log.read_text():
            assert time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.1)
        assert service.stop(signal.SIGINT) == 0
        assert gone(worker)
        said = service.log.read_text()
        assert str(service.home / "token") in said
        assert "Traceback" not in said


def test_what_up_makes_is_private(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        made = [path for path in service.home.rglob("*") if path.name != "service.log"]
        assert {"token", "secret.key", "vmferry.db"} <= {path.name for path in made}
        assert not [path for path in made if path.stat().st_mode & 0o077]


def test_the_workers_environment_has_no_secret(tmp_path: Path) -> None:
    secrets = {"VMFERRY_SOURCE_PASSWORD": "p-7d1f", "VMFERRY_TOKEN": "t-7d1f"}
    with Service(tmp_path / "home", **secrets) as service:
        environment = Path(f"/proc/{worker_of(service)}/environ").read_bytes()
        assert b"VMFERRY_HOME" in environment
        assert b"7d1f" not in environment


def test_up_says_when_its_address_is_taken(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = service.run("up", check=False, env={"VMFERRY_BIND": f"127.0.0.1:{other.getsockname()[1]}"}, timeout=60)
    assert done.returncode == 1
    assert "cannot_listen" in done.stderr


def test_serve_and_worker_want_the_current_schema(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    for command in ("serve", "worker"):
        done = service.run(command, check=False, timeout=60)
        assert (done.returncode, "vmferry db upgrade" in done.stderr) == (1, True), done.stderr
    assert "empty" in service.run("db", "current").stdout
    assert "empty →" in service.run("db", "upgrade").stdout
    assert "(unchanged)" in service.run("db", "upgrade").stdout
    assert "(current)" in service.run("db", "current").stdout


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    for command in ("up", "doctor"):
        done = service.run(command, check=False, env={"VMFERRY_MAX_JOBS": "many"}, timeout=60)
        assert done.returncode == 3
        assert "max_jobs" in done.stdout + done.stderr


def test_doctor_finds_what_a_move_needs(tmp_path: Path) -> None:
    with LibvirtHost():
        answer = Service(tmp_path / "home").json("doctor")
    assert answer["ok"], answer
    assert {"settings", "home", "qemu-img", "virt-v2v-in-place", "appliance kernel", "libvirt"} <= {
        row["name"] for row in answer["checks"]
    }


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    (tmp_path / "bin").mkdir()
    for tool in ("setpriv", "qemu-img"):
        found = subprocess.run(["/usr/bin/which", tool], check=True, capture_output=True, text=True).stdout.strip()
        (tmp_path / "bin" / tool).symlink_to(found)
    service.home.joinpath("token").write_text("t")
    service.home.joinpath("token").chmod(0o644)
    done = service.run("doctor", "-o", "json", check=False, env={"PATH": str(tmp_path / "bin")}, timeout=60)
    assert done.returncode == 3
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["qemu-img"]["ok"]
    assert (rows["qemu-nbd"]["ok"], rows["qemu-nbd"]["remedy"]) == (False, "Install it: apt install qemu-utils")
    assert rows["permissions of token"]["remedy"].startswith("chmod 600")
