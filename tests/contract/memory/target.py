"""A target in memory. Its volumes are real qcow2 files in a folder, so that what writes disks can write them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.errors import Conflict, DomainExists, InvalidRequest, NotFound, TargetDenied
from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml import domain_xml
from app.domain.models import Check, Domain, ImageOptions, Pool, TargetFacts
from app.ports.source import CancelCheck
from app.ports.target import PLAIN
from converters import qcow2
from workers.targets.libvirt.picture import as_png

PICTURE = as_png(b"P6 1 1 255\nabc")


@dataclass
class MemoryTarget:
    """`folder` is the pool.

    guests_obey: whether a guest shuts down when asked. agents: UUIDs whose agent answers, and answers: what it says.
    heard: UUID → MAC → addresses. isolated: UUIDs of domains that are. foreign: domains that are not ours, by UUID.
    calls: the name of each call that changes something.
    """

    folder: Path
    pool: str = "default"
    networks: tuple[str, ...] = ("default",)
    guests_obey: bool = True
    agents: set[str] = field(default_factory=set)
    heard: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    isolated: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    hardware: dict[str, Hardware] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        self._domains: dict[str, Domain] = {}
        self._failures: dict[str, list[BaseException]] = defaultdict(list)

    # what tests do to it

    def fail_next(self, method: str, error: BaseException) -> None:
        """Let the next call of a method of the port raise; several are raised one after the other."""
        self._failures[method].append(error)

    def add_foreign(self, domain: Domain) -> None:
        """A domain that somebody else made."""
        self._domains[domain.uuid] = domain

    # the port

    def check(self) -> list[Check]:
        self._enter("check")
        return [Check(name="reachable", ok=True, detail="memory")]

    def facts(self) -> TargetFacts:
        self._enter("facts")
        pool = Pool(
            name=self.pool, type="dir", path=str(self.folder), active=True, capacity_bytes=1 << 40, free_bytes=1 << 39
        )
        return TargetFacts(
            hypervisor="memory",
            pools=(pool,),
            networks=self.networks,
            domains=tuple(self._domains.values()),
            tools={"virt-v2v-in-place": "2.2.0"},
        )

    def create_volume(
        self, name: str, capacity_bytes: int, image: ImageOptions = PLAIN, *, cancel: CancelCheck | None = None
    ) -> Path:
        self._enter("create_volume")
        path = self._path(name)
        path.unlink(missing_ok=True)
        try:
            qcow2.create(path, capacity_bytes, image, cancel=cancel)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def volume_path(self, name: str) -> Path | None:
        self._enter("volume_path")
        path = self._path(name)
        return path if path.exists() else None

    def volumes(self, prefix: str) -> list[str]:
        self._enter("volumes")
        return sorted(path.name for path in self.folder.iterdir() if path.name.startswith(prefix))

    def delete_volume(self, name: str) -> None:
        self._enter("delete_volume")
        self._path(name).unlink(missing_ok=True)

    def serial_log(self, name: str) -> Path:
        return self._path(f"{name}-serial.log")

    def find_domain(self, *, uuid: str = "", name: str = "") -> Domain | None:
        self._enter("find_domain")
        if uuid:
            return self._domains.get(uuid)
        return next((domain for domain in self._domains.values() if domain.name == name), None)

    def define(self, hardware: Hardware) -> Domain:
        self._enter("define")
        domain_xml(hardware)  # what libvirt could not be told is refused here too
        running = False
        for domain in self._domains.values():
            if domain.uuid == hardware.uuid or domain.name == hardware.name:
                if domain.job != hardware.job_id:
                    raise DomainExists(f"a domain {domain.name!r} is there and is not this job's")
                running = domain.running
        self.hardware[hardware.uuid] = hardware
        self._domains[hardware.uuid] = Domain(
            uuid=hardware.uuid, name=hardware.name, running=running, job=hardware.job_id
        )
        return self._domains[hardware.uuid]

    def undefine(self, uuid: str) -> None:
        self._enter("undefine")
        if uuid in self._domains:
            if self._ours(uuid).running:
                raise Conflict("the domain runs")
            del self._domains[uuid]

    def start(self, uuid: str, *, isolated: bool = False) -> tuple[str, ...]:
        self._enter("start")
        if isolated and not self._ours(uuid).running:
            self.isolated.add(uuid)
        self._run(uuid, True)
        return ()

    def connect(self, uuid: str) -> None:
        self._enter("connect")
        if self._ours(uuid).running:
            self.isolated.discard(uuid)

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        self._enter("shut_down")
        if self._ours(uuid).running and not self.guests_obey:
            return False
        self._run(uuid, False)
        self.isolated.discard(uuid)
        return True

    def stop(self, uuid: str) -> None:
        self._enter("stop")
        if uuid in self._domains:
            self._run(uuid, False)
            self.isolated.discard(uuid)

    def agent_answers(self, uuid: str) -> bool:
        self._enter("agent_answers")
        return self._ours(uuid).running and uuid in self.agents

    def ask_agent(self, uuid: str) -> dict[str, Any]:
        self._enter("ask_agent")
        return self.answers if self._ours(uuid).running and uuid in self.agents else {}

    def addresses(self, uuid: str, ask: Sequence[str] = ()) -> dict[str, list[str]]:
        self._enter("addresses")
        return self.heard.get(uuid, {}) if self._ours(uuid).running else {}

    def screenshot(self, uuid: str) -> bytes:
        self._enter("screenshot")
        if not self._ours(uuid).running:
            raise NotFound("the domain is off")
        return PICTURE

    def close(self) -> None:
        self.closed = True

    def _enter(self, method: str) -> None:
        if self._failures[method]:
            raise self._failures[method].pop(0)
        self.calls.append(method)

    def _path(self, name: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise InvalidRequest(f"{name!r} is not a plain name")
        return self.folder / name

    def _ours(self, uuid: str) -> Domain:
        domain = self._domains.get(uuid)
        if domain is None:
            raise NotFound(f"there is no domain with UUID {uuid}")
        if not domain.job:
            raise TargetDenied("the domain was not made by vmferry")
        return domain

    def _run(self, uuid: str, running: bool) -> None:
        self._domains[uuid] = self._ours(uuid).model_copy(update={"running": running})
