"""libvirt domains: found, defined, started and stopped by UUID; only those with our metadata are ever changed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import libvirt
import libvirt_qemu
from defusedxml.ElementTree import fromstring

from app.domain.errors import Conflict, DomainExists, NotFound, TargetDenied, TargetUnavailable
from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml import NAMESPACE, domain_xml
from app.domain.models import Domain
from workers.targets.libvirt import cards, frames
from workers.targets.libvirt.connection import Connection
from workers.targets.libvirt.host import hostdevs, pinned
from workers.targets.libvirt.picture import as_png

PICTURE_LIMIT = 64 << 20
ASK_AGAIN_SECONDS = 10.0  # a guest that is still booting does not hear the first request to shut down
POLL_SECONDS = 0.5
AGENT_SECONDS = 3
QUESTIONS = ("guest-get-host-name", "guest-network-get-interfaces", "guest-get-fsinfo", "guest-get-osinfo")

_WITH_ALL_STATE = (
    libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
_ADDRESS_SOURCES = (
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
)
_NO_ANSWER = {
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
}


def describe(domain: Any) -> Domain:
    xml = domain.XMLDesc()
    return Domain(
        uuid=domain.UUIDString(),
        name=domain.name(),
        running=bool(domain.isActive()),
        job=owning_job(domain),
        pinned=pinned(xml),
        hostdevs=hostdevs(xml),
    )


def owning_job(domain: Any) -> str:
    """The job id in our metadata, empty for a domain that is not ours."""
    try:
        metadata = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        return ""
    return str(fromstring(metadata).get("id", ""))


class Domains:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ears: dict[str, frames.Ear] = {}  # by bridge

    def close(self) -> None:
        while self._ears:
            self._ears.popitem()[1].close()

    def find(self, *, uuid: str = "", name: str = "") -> Domain | None:
        def look(connection: Any) -> Domain | None:
            domain = _lookup(connection, uuid=uuid, name=name)
            return None if domain is None else describe(domain)

        return self._connection.call(look)

    def define(self, hardware: Hardware) -> Domain:
        def act(connection: Any) -> Domain:
            for domain in (_lookup(connection, uuid=hardware.uuid), _lookup(connection, name=hardware.name)):
                if domain is not None and owning_job(domain) != hardware.job_id:
                    raise DomainExists(
                        f"a domain {domain.name()!r} with UUID {domain.UUIDString()} is there and is not this job's",
                        "Give another target name, or remove that domain.",
                    )
            return describe(connection.defineXMLFlags(domain_xml(hardware), libvirt.VIR_DOMAIN_DEFINE_VALIDATE))

        return self._connection.call(act)

    def undefine(self, uuid: str) -> None:
        def act(connection: Any) -> None:
            domain = _lookup(connection, uuid=uuid)
            if domain is None:
                return
            _check_ours(domain)
            if domain.isActive():
                raise Conflict(f"domain {domain.name()!r} runs", "Stop it first.")
            domain.undefineFlags(_WITH_ALL_STATE)

        self._connection.call(act)

    def start(self, uuid: str, *, isolated: bool = False) -> tuple[str, ...]:
        def act(connection: Any) -> tuple[str, ...]:
            domain = _ours(connection, uuid)
            if not domain.isActive():
                domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
            waits = _waits(domain)
            told = cards.isolate(connection, domain) if waits and isolated else []
            told += frames.listen(cards.bridges(domain), self._ears)
            if waits:
                domain.resume()
            return tuple(told)

        return self._connection.call(act)

    def connect(self, uuid: str) -> None:
        def act(connection: Any) -> None:
            domain = _ours(connection, uuid)
            cards.connect(domain)
            frames.listen(cards.bridges(domain), self._ears)

        self._connection.call(act)

    def stop(self, uuid: str) -> None:
        def act(connection: Any) -> None:
            domain = _lookup(connection, uuid=uuid)
            if domain is None or not domain.isActive():
                return
            _check_ours(domain)
            try:
                domain.destroy()
            except libvirt.libvirtError:
                if domain.isActive():  # else it went off by itself just now
                    raise

        self._connection.call(act)

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        def act(connection: Any) -> bool:
            domain = _ours(connection, uuid)
            deadline = time.monotonic() + timeout_s
            ask = 0.0
            while domain.isActive():
                now = time.monotonic()
                if now >= deadline:
                    return False
                if now >= ask:
                    ask = now + ASK_AGAIN_SECONDS
                    _request_shutdown(domain)
                time.sleep(POLL_SECONDS)
            return True

        return self._connection.call(act)

    def agent_answers(self, uuid: str) -> bool:
        return self._connection.call(lambda connection: _agent(_ours(connection, uuid), "guest-ping") is not None)

    def ask_agent(self, uuid: str) -> dict[str, Any]:
        def act(connection: Any) -> dict[str, Any]:
            domain = _ours(connection, uuid)
            answers = ((command, _agent(domain, command)) for command in QUESTIONS)
            return {command: answer for command, answer in answers if answer is not None}

        return self._connection.call(act)

    def addresses(self, uuid: str, ask: Sequence[str] = ()) -> dict[str, list[str]]:
        """MAC → addresses without prefix, each once; {} while it is off."""

        def act(connection: Any) -> dict[str, list[str]]:
            domain = _ours(connection, uuid)
            pairs = [pair for source in _ADDRESS_SOURCES for pair in _addresses(domain, source)]
            for mac, bridge in cards.bridges(domain).items() if domain.isActive() else ():
                if ear := self._ears.get(bridge):
                    pairs += [(mac, address) for address in ear.heard(mac)]
                    for cidr in ask if bridge == cards.BRIDGE else ():
                        ear.ask_for(cidr)
            return {mac: list(dict.fromkeys(address for m, address in pairs if m == mac)) for mac, _ in pairs}

        return self._connection.call(act)

    def screenshot(self, uuid: str) -> bytes:
        def act(connection: Any) -> bytes:
            domain = _ours(connection, uuid)
            if not domain.isActive():
                raise NotFound(f"domain {domain.name()!r} is off: it shows no picture")
            stream = connection.newStream(0)
            domain.screenshot(stream, 0)
            picture = bytearray()
            while chunk := stream.recv(1 << 18):
                picture += chunk
                if len(picture) > PICTURE_LIMIT:
                    stream.abort()
                    raise TargetUnavailable(f"the console's picture is larger than {PICTURE_LIMIT} bytes")
            stream.finish()
            return as_png(bytes(picture))

        return self._connection.call(act)


def _lookup(connection: Any, *, uuid: str = "", name: str = "") -> Any:
    """The domain or None."""
    try:
        return connection.lookupByUUIDString(uuid) if uuid else connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def _ours(connection: Any, uuid: str) -> Any:
    domain = _lookup(connection, uuid=uuid)
    if domain is None:
        raise NotFound(f"there is no domain with UUID {uuid}")
    _check_ours(domain)
    return domain


def _check_ours(domain: Any) -> None:
    if not owning_job(domain):
        raise TargetDenied(f"domain {domain.name()!r} was not made by vmferry: it is left alone")


def _request_shutdown(domain: Any) -> None:
    try:
        domain.shutdown()
    except libvirt.libvirtError:
        if domain.isActive():
            raise


def _addresses(domain: Any, source: int) -> list[tuple[str, str]]:
    """(MAC, address) pairs from one source; none when it cannot answer."""
    try:
        interfaces = domain.interfaceAddresses(source, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NO_ANSWER:
            raise
        return []
    return [
        (str(interface["hwaddr"]).lower(), str(address["addr"]))
        for name, interface in interfaces.items()
        if name != "lo" and interface["hwaddr"]
        for address in interface["addrs"] or ()
    ]


def _agent(domain: Any, command: str) -> Any:
    """What the guest agent returns to a command; None where it does not answer, or does not know it."""
    question = json.dumps({"execute": command})
    try:
        answer = libvirt_qemu.qemuAgentCommand(domain, question, AGENT_SECONDS, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (*_NO_ANSWER, libvirt.VIR_ERR_INTERNAL_ERROR):
            raise
        return None
    return json.loads(answer).get("return")


def _waits(domain: Any) -> bool:
    """Whether it is paused, and not because a disk of it failed."""
    state, reason = domain.state()
    return bool(state == libvirt.VIR_DOMAIN_PAUSED and reason != libvirt.VIR_DOMAIN_PAUSED_IOERROR)
