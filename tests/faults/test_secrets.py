"""The vCenter's password is nowhere in clear: not in a process, a log, the database, an event or an answer."""

from __future__ import annotations

import base64
import html
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.faults.world import World, descendants
from tests.lab import Lab
from tests.libvirt_host import LibvirtHost
from tests.service import Service

PASSWORD = 'Lk9<&"x>+/=%ü Zq7\\z'  # every form below differs from every other
SETTINGS = {"VMFERRY_RETRY_BACKOFF_S": "0.2", "VMFERRY_RETRY_ATTEMPTS": "2", "VMFERRY_LOG_LEVEL": "debug"}


def forms(secret: str) -> dict[str, bytes]:
    """The secret as it could be written down somewhere."""
    texts = {
        "plain": secret,
        "json": json.dumps(secret)[1:-1],
        "json, unicode": json.dumps(secret, ensure_ascii=False)[1:-1],
        "repr": repr(secret)[1:-1],
        "url": urllib.parse.quote(secret, safe=""),
        "url, path": urllib.parse.quote(secret),
        "form": urllib.parse.quote_plus(secret),
        "xml": html.escape(secret),
        "xml, text": html.escape(secret, quote=False),
        "base64": base64.b64encode(secret.encode()).decode().rstrip("="),
        "base64, url": base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        "utf-16": secret,
        "hex": secret.encode().hex(),
    }
    return {name: text.encode("utf-16-le" if name == "utf-16" else "utf-8") for name, text in texts.items()}


class Watch(threading.Thread):
    """Looks at argv and environ of all processes below `pid`, over and over."""

    def __init__(self, pid: int, secrets: dict[str, bytes]) -> None:
        super().__init__(daemon=True)
        self.pid, self.secrets = pid, secrets
        self.found: set[str] = set()
        self.looked_at: set[str] = set()
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            for pid in descendants(self.pid):
                for name in ("cmdline", "environ"):
                    try:
                        text = Path(f"/proc/{pid}/{name}").read_bytes()
                    except (FileNotFoundError, ProcessLookupError):
                        continue
                    self.looked_at.add(text.split(b"\0")[0].decode(errors="replace") if name == "cmdline" else "")
                    self.found |= {
                        f"{name} of {pid}: {form}" for form, secret in self.secrets.items() if secret in text
                    }
            time.sleep(0.01)

    def end(self) -> None:
        self.stopping.set()
        self.join()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with (
        Lab(tmp_path / "lab", password=PASSWORD) as lab,
        LibvirtHost() as host,
        Service(tmp_path / "home", **SETTINGS) as service,
    ):
        world = World(lab, host, service)
        yield world
        world.clean()


def answers(world: World, job_ids: list[str]) -> bytes:
    """What the API says of everything, errors too."""
    token = (world.service.home / "token").read_text().strip()
    paths = ["sources", "targets", "credentials", "jobs", "inventory/vms", "events?limit=500", "tokens"]
    for job_id in job_ids:
        paths += [f"jobs/{job_id}", f"jobs/{job_id}/disks", f"jobs/{job_id}/events?limit=500"]
    bodies = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        for path in paths:
            reply = session.get(f"{world.service.url}/v1/{path}", timeout=30)
            assert reply.ok, reply.text
            bodies.append(reply.content)
        for body in (
            {"name": "x", "host": "127.0.0.2", "username": "u", "password": PASSWORD, "nonsense": 1},
            {"name": world.source, "host": "127.0.0.2", "username": "u", "password": PASSWORD},
            {"name": "y", "host": 5, "username": ["u"], "password": PASSWORD},
        ):
            reply = session.post(f"{world.service.url}/v1/sources", json=body, timeout=30)
            assert not reply.ok
            bodies.append(reply.content)
    return b"\n".join(bodies)


def test_the_password_is_nowhere_in_clear(world: World) -> None:
    secrets = forms(PASSWORD)
    watch = Watch(world.service.process.pid, secrets)
    watch.start()
    added = world.service.run(
        "source", "add", "lab", f"{world.lab.host}:{world.lab.port}", "--username", world.lab.username,
        "--password-file", str(world.lab.password_file), "--ca-file", str(world.lab.ca_file),
    )  # fmt: skip
    host = world.host
    world.service.run("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool, "--network", f"*={host.network}")

    moved = world.finish(world.submit(world.add_vm())["id"])
    assert moved["state"] == "succeeded", moved["error"]
    world.let_no_disk_be_read()
    failed = world.finish(world.submit(world.add_vm())["id"])
    assert failed["state"] == "failed"
    world.lab.clear()
    wrong = world.api("POST", "credentials", json={"name": "w", "username": PASSWORD[:4], "password": PASSWORD})
    world.api(
        "POST",
        "sources",
        json={"name": "closed", "host": "127.0.0.2:1", "credential": wrong["id"], "tls": {"insecure": True}},
    )
    world.operate("sources/closed/check")
    said = answers(world, [moved["id"], failed["id"]])
    watch.end()

    assert any("virt-v2v-in-place" in command for command in watch.looked_at), watch.looked_at
    assert watch.found == set()
    places = {"API": said, "CLI": (added.stdout + added.stderr).encode()}
    for path in world.service.home.rglob("*"):
        if path.is_file():
            places[str(path)] = path.read_bytes()
    assert any(name.endswith(".db") for name in places)
    assert len(places[str(world.service.log)]) > 1000
    found = [(place, form) for place, text in places.items() for form, secret in secrets.items() if secret in text]
    assert found == []
    key = (world.service.home / "secret.key").stat()
    assert key.st_mode & 0o077 == 0
