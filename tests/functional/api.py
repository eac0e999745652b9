"""A whole service over a SQLite file of its own, and a caller with its token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from app.domain.models import VM, Disk, Domain, Nic, Pool, PowerState, TargetFacts
from app.domain.states import JobState
from app.log import configure
from app.main import create_app
from app.settings import Settings
from app.store.schema import upgrade
from app.store.store import Store

PASSWORD = "pa55word-of-the-vcenter"
GIB = 1 << 30


def vm(number: int, **changes: Any) -> VM:
    fields: dict[str, Any] = {
        "id": f"vm-{number}",
        "name": f"guest{number}",
        "uuid": f"4200c1d2-0000-4000-8000-{number:012x}",
        "power_state": PowerState.ON,
        "memory_bytes": GIB,
        "guest_id": "debian12_64Guest",
        "tools": "running",
        "disks": (Disk(key=2000, label="Hard disk 1", capacity_bytes=2 * GIB, controller="pvscsi"),),
        "nics": (Nic(key=4000, label="Network adapter 1", mac=f"00:50:56:00:00:{number:02x}", network="VM Network"),),
    }
    return VM.model_validate(fields | changes)


def facts(**changes: Any) -> TargetFacts:
    fields: dict[str, Any] = {
        "hypervisor": "QEMU 7.2.0",
        "accelerator": "tcg",
        "pools": (
            Pool(name="default", type="dir", path="/pool", active=True, capacity_bytes=100 * GIB, free_bytes=50 * GIB),
        ),
        "networks": ("default",),
        "domains": (Domain(uuid="4200c1d2-1111-4000-8000-000000000001", name="taken"),),
        "tools": {"virt-v2v-in-place": "2.2.0"},
    }
    return TargetFacts.model_validate(fields | changes)


@dataclass
class Service:
    """`http` calls with the first token; `store` is what a worker would write to."""

    settings: Settings
    http: TestClient
    store: Store
    token: str
    source: str = ""
    target: str = ""

    def register(self, *vms: VM) -> None:
        """A source with an inventory and a target that was checked."""
        source = {"name": "lab", "host": "vc.example", "username": "mover", "password": PASSWORD}
        self.source = self.http.post("/v1/sources", json=source).json()["id"]
        target = {"name": "here", "networks": {"*": "default"}}
        self.target = self.http.post("/v1/targets", json=target).json()["id"]
        self.store.workers.save_inventory(self.source, "vcenter-uuid", vms or [vm(n) for n in range(1, 6)])
        self.store.workers.save_target_facts(self.target, facts(), [])

    def submit(self, name: str = "guest1", **options: Any) -> str:
        """The id of a job that waits."""
        answer = self.http.post("/v1/jobs", json={"source": "lab", "vm": name, "options": options})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def admit(self) -> list[str]:
        return self.store.workers.admit(10, lambda _connection, _job: None)

    def end(self, job_id: str, *path: JobState) -> None:
        """What a worker does to a waiting job, in short."""
        assert job_id in self.admit()
        for state in path:
            self.store.jobs.transition(job_id, state)


@contextmanager
def service(home: Path, **settings: Any) -> Iterator[Service]:
    configure()
    chosen = Settings(home=home, **settings)
    upgrade(chosen.database_url)
    app = create_app(chosen)
    token = chosen.token_file.read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with TestClient(app, base_url=f"http://{chosen.bind}", headers=headers, raise_server_exceptions=False) as client:
        yield Service(chosen, client, app.state.services.store, token)
