"""Raise all concerns: one lab, one service, dry runs; nothing is moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.domain.models import Concern, SourceSpec
from tests.concerns import files, guests, hardware, vsphere
from tests.concerns.entry import OnFiles, OnGuest, OnVsphere
from tests.contract.source_platforms import lab_spec
from tests.functional.api import Service, facts, service
from tests.lab.lab import Lab
from workers.sources import open_source

Entry = OnVsphere | OnFiles | OnGuest
ON_VSPHERE = (*vsphere.ENTRIES, *hardware.ENTRIES)
ENTRIES: tuple[Entry, ...] = (*ON_VSPHERE, *files.ENTRIES, *guests.ENTRIES)
NETWORKS = {"*": "default"}


class Raised(NamedTuple):
    """`assessed`: what an assessment said of the same VM, where the entry changes nothing else."""

    entry: Entry
    concerns: list[Concern]
    assessed: list[Concern] | None = None


def raise_all(folder: Path) -> list[Raised]:
    """In the order of the tables. What differs from run to run is written alike: ids, folders, ports, counters."""
    found = []
    with service(folder / "home") as api:
        found += on_vsphere(api, folder / "lab")
        found += on_files(api, folder)
    found += [Raised(entry, entry.convert()) for entry in guests.ENTRIES]
    return found


def on_vsphere(api: Service, folder: Path) -> Iterator[Raised]:
    with Lab(folder) as lab:
        vms = [lab.add(entry.vm) for entry in ON_VSPHERE]
        others = {entry.code: lab.add(entry.waiting) for entry in ON_VSPHERE if entry.waiting}
        read(api, "vc1", lab_spec(lab))
    plain = add_target(api, "kvm0")
    assessed = {item["vm"]["id"]: shown(item["concerns"]) for item in all_assessed(api, plain)}
    for number, (entry, vm) in enumerate(zip(ON_VSPHERE, vms, strict=True), start=1):
        target = add_target(api, f"kvm{number}", entry.target, entry.facts)
        job = submit(api, others[entry.code], target) if entry.waiting else ""
        concerns = dry_run(api, "vc1", vm, target, entry.options)
        if job:
            api.http.post(f"/v1/jobs/{job}/cancel").raise_for_status()
        yield Raised(entry, shown(concerns, {job: "JOB"}), assessed[vm] if entry.plain else None)


def on_files(api: Service, folder: Path) -> Iterator[Raised]:
    target = add_target(api, "kvm")
    for entry in files.ENTRIES:
        place = folder / entry.code
        place.mkdir()
        with entry.place(place) as spec:
            (vm,) = read(api, entry.code, spec)
        port = "".join(re.findall(r":\d+(?=/)", spec.host))
        yield Raised(entry, shown(dry_run(api, entry.code, vm, target, {}), {str(place): "/exports", port: ""}))


def read(api: Service, name: str, spec: SourceSpec) -> list[str]:
    """Register a source and store its inventory, as a worker does; the VMs' ids."""
    login = {"username": spec.username, "password": spec.password} if spec.username else {}
    given = {"name": name, "kind": spec.kind, "host": spec.host, **login}
    source_id = created(api, "sources", given)
    source = open_source(spec)
    try:
        vms = source.inventory()
    finally:
        source.close()
    api.store.workers.save_inventory(source_id, name, vms)
    return [vm.id for vm in vms]


def add_target(
    api: Service, name: str, changes: dict[str, Any] | None = None, seen: dict[str, Any] | None = None
) -> str:
    target = created(api, "targets", {"name": name, "networks": NETWORKS, **(changes or {})})
    api.store.workers.save_target_facts(target, facts(**(seen or {})), [])
    return target


def submit(api: Service, vm: str, target: str) -> str:
    return created(api, "jobs", {"source": "vc1", "vm": vm, "target": target})


def dry_run(api: Service, source: str, vm: str, target: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    given = {"source": source, "vm": vm, "target": target, "options": options}
    answer = api.http.post("/v1/jobs", params={"dry_run": True}, json=given)
    assert answer.status_code == 200, answer.text
    concerns: list[dict[str, Any]] = answer.json()["concerns"]
    return concerns


def all_assessed(api: Service, target: str) -> list[dict[str, Any]]:
    answer = api.http.get("/v1/inventory/assessments", params={"source": "vc1", "target": target, "limit": 500})
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def created(api: Service, what: str, given: dict[str, Any]) -> str:
    answer = api.http.post(f"/v1/{what}", json=given)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def shown(concerns: list[dict[str, Any]], written: dict[str, str] | None = None) -> list[Concern]:
    def alike(text: str) -> str:
        for old, new in (written or {}).items():
            text = text.replace(old, new) if old else text
        return re.sub(r"\bkvm\d+\b", "kvm", re.sub(r"\bweb_\d+\b", "web", text))

    return [
        Concern.model_validate(concern | {"cause": alike(concern["cause"]), "remedy": alike(concern["remedy"])})
        for concern in concerns
    ]
