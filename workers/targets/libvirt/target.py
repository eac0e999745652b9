"""A libvirt host as a target: its pool, its networks and its domains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import libvirt

from app.domain.errors import InvalidRequest, VmferryError
from app.domain.hardware.model import Hardware
from app.domain.host import WindowsTools
from app.domain.models import Check, Domain, ImageOptions, TargetFacts, TargetSpec
from app.domain.networks import parse
from app.ports.source import CancelCheck
from app.ports.target import PLAIN
from app.preflight.networks import known
from converters.accelerator import resolve
from converters.tools import versions
from converters.virtio_win import survey
from workers.targets.libvirt import domains, host, pools
from workers.targets.libvirt.connection import Connection
from workers.targets.libvirt.errors import GONE

SYSTEM_LOGS = Path("/var/log/libvirt/qemu")  # where virtlogd may write, also under SELinux
TPM_TOOLS = ("swtpm", "swtpm_setup")  # libvirt calls them


class LibvirtTarget:
    """app/ports/target.py over libvirt-python. It connects when first used."""

    def __init__(
        self,
        spec: TargetSpec,
        accelerator: Literal["auto", "kvm", "tcg"] = "auto",
        virtio_win: Path | None = None,
    ) -> None:
        self._spec = spec
        self._accelerator = accelerator
        self._virtio_win = virtio_win
        self._connection = Connection(spec.uri, spec.username, spec.password)
        self._volumes = pools.Volumes(self._connection, spec.pool)
        self._domains = domains.Domains(self._connection)

    def facts(self) -> TargetFacts:
        tools = versions(self._virtio_win)
        return TargetFacts(
            tpm=all(shutil.which(tool) for tool in TPM_TOOLS),
            accelerator=resolve(self._accelerator),
            tools=tools,
            windows=survey(Path(tools["virtio-win"])) if "virtio-win" in tools else WindowsTools(),
            **self._connection.call(_inventory),
        )

    def check(self) -> list[Check]:
        """Reachable, then KVM, the tools, the pool and each mapped network."""
        try:
            facts = self.facts()
        except VmferryError as error:
            return [Check(name="reachable", ok=False, detail=error.message, remedy=error.remedy)]
        return [
            Check(name="reachable", ok=True, detail=f"{self._spec.uri}: {facts.hypervisor}"),
            _check_accelerator(facts),
            *(Check(name=name, ok=True, detail=version) for name, version in facts.tools.items()),
            _check_pool(facts, self._spec.pool),
            *_check_networks(facts, self._spec.networks),
        ]

    def create_volume(
        self, name: str, capacity_bytes: int, image: ImageOptions = PLAIN, *, cancel: CancelCheck | None = None
    ) -> Path:
        return self._volumes.create(name, capacity_bytes, image, cancel)

    def volume_path(self, name: str) -> Path | None:
        return self._volumes.path(name)

    def volumes(self, prefix: str) -> list[str]:
        return self._volumes.names(prefix)

    def delete_volume(self, name: str) -> None:
        self._volumes.delete(name)

    def serial_log(self, name: str) -> Path:
        folder = SYSTEM_LOGS
        if urlsplit(self._spec.uri).path == "/session":
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "libvirt/qemu/log"
        return folder / f"{pools.check_name(name)}-serial.log"  # libvirt's own log of a domain is NAME.log

    def find_domain(self, *, uuid: str = "", name: str = "") -> Domain | None:
        return self._domains.find(uuid=uuid, name=name)

    def define(self, hardware: Hardware) -> Domain:
        return self._domains.define(hardware)

    def undefine(self, uuid: str) -> None:
        self._domains.undefine(uuid)

    def start(self, uuid: str, *, isolated: bool = False) -> tuple[str, ...]:
        return self._domains.start(uuid, isolated=isolated)

    def connect(self, uuid: str) -> None:
        self._domains.connect(uuid)

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        return self._domains.shut_down(uuid, timeout_s)

    def stop(self, uuid: str) -> None:
        self._domains.stop(uuid)

    def agent_answers(self, uuid: str) -> bool:
        return self._domains.agent_answers(uuid)

    def ask_agent(self, uuid: str) -> dict[str, Any]:
        return self._domains.ask_agent(uuid)

    def addresses(self, uuid: str, ask: Sequence[str] = ()) -> dict[str, list[str]]:
        return self._domains.addresses(uuid, ask)

    def screenshot(self, uuid: str) -> bytes:
        return self._domains.screenshot(uuid)

    def close(self) -> None:
        self._domains.close()
        self._connection.close()


def _inventory(connection: Any) -> dict[str, Any]:
    """The fields of TargetFacts that libvirt knows.

    Other jobs and other people go on meanwhile: which networks run is asked in one call, and what goes away between
    the list and its description is left out.
    """
    running = connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
    return {
        "hypervisor": f"QEMU {_version(connection.getVersion())}, libvirt {_version(connection.getLibVersion())}",
        "host": host.describe(connection),
        "pools": tuple(_still_there(connection.listAllStoragePools(), pools.describe)),
        "networks": tuple(network.name() for network in running),
        "domains": tuple(_still_there(connection.listAllDomains(), domains.describe)),
    }


def _still_there(listed: Iterable[Any], describe: Callable[[Any], Any]) -> Iterator[Any]:
    for one in listed:
        try:
            yield describe(one)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in GONE:
                raise


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _check_accelerator(facts: TargetFacts) -> Check:
    if facts.accelerator == "kvm":
        return Check(name="accelerator", ok=True, detail="KVM works")
    return Check(
        name="accelerator",
        ok=True,
        detail="KVM does not work here: guests run in software emulation, about ten times slower",
        remedy="Enable virtualisation in the firmware, and check /dev/kvm.",
    )


def _check_pool(facts: TargetFacts, name: str) -> Check:
    label = f"pool {name}"
    pool = facts.pool(name)
    if pool is None:
        known = ", ".join(pool.name for pool in facts.pools) or "none"
        return Check(name=label, ok=False, detail=f"there is no such pool; there are: {known}")
    if pool.type not in pools.FOLDER_POOLS:
        remedy = f"Use a pool of type {', '.join(pools.FOLDER_POOLS)}."
        return Check(name=label, ok=False, detail=f"it is of type {pool.type}", remedy=remedy)
    if not pool.active:
        return Check(name=label, ok=False, detail="it is not active", remedy=f"virsh pool-start {name}")
    if not os.access(pool.path, os.R_OK | os.W_OK | os.X_OK):
        remedy = "The worker writes disks as files: let its user read and write that folder."
        return Check(name=label, ok=False, detail=f"{pool.path} is not writable for this worker", remedy=remedy)
    return Check(name=label, ok=True, detail=f"{pool.path}, {pool.free_bytes / (1 << 30):.1f} GiB free")


def _check_networks(facts: TargetFacts, networks: dict[str, str]) -> Iterator[Check]:
    for text in sorted(set(networks.values())):
        try:
            attachment = parse(text)
        except InvalidRequest as error:
            yield Check(name=f"network {text}", ok=False, detail=error.message, remedy=error.remedy)
            continue
        there = known(facts, attachment)
        ok = attachment.name in there.mtus
        yield Check(
            name=f"network {text}",
            ok=ok,
            detail="active" if ok else f"there is no {there.what} of that name",
            remedy="" if ok else f"{there.remedy}.",
        )
