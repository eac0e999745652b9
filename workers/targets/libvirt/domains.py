"""libvirt domains: found, defined, started and stopped by UUID; only those with our metadata are ever changed."""

from __future__ import annotations

import json
import time
from typing import Any

import libvirt
import libvirt_qemu
from defusedxml.ElementTree import fromstring

from app.domain.errors import Conflict, DomainExists, NotFound, TargetDenied, TargetUnavailable
from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml import NAMESPACE, domain_xml
from app.domain.models import Domain
from app.process import run
from workers.targets.libvirt.connection import Connection
from workers.targets.libvirt.host import hostdevs, pinned
from workers.targets.libvirt.picture import as_png

PICTURE_LIMIT = 64 << 20
ASK_AGAIN_SECONDS = 10.0  # a guest that is still booting does not hear the first request to shut down
POLL_SECONDS = 0.5
AGENT_SECONDS = 3

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
NEIGHBOURS = ("ip", "-json", "neigh", "show")  # libvirt 9.0 cannot read newer kernels' table: "wrong nlmsg len"
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

    def start(self, uuid: str) -> None:
        def act(connection: Any) -> None:
            domain = _ours(connection, uuid)
            if not domain.isActive():
                domain.create()

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
        def act(connection: Any) -> bool:
            domain = _ours(connection, uuid)
            try:
                libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-ping"}', AGENT_SECONDS, 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _NO_ANSWER:
                    raise
                return False
            return True

        return self._connection.call(act)

    def addresses(self, uuid: str) -> dict[str, list[str]]:
        """MAC → addresses without prefix, each once; {} while it is off."""

        def act(connection: Any) -> dict[str, list[str]]:
            domain = _ours(connection, uuid)
            pairs = [pair for source in _ADDRESS_SOURCES for pair in _addresses(domain, source)]
            pairs += neighbours(run(NEIGHBOURS, timeout=AGENT_SECONDS).text, _cards(domain))
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


def neighbours(table: str, cards: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """(MAC, address) of the entries of `ip -json neigh` that a card's own bridge has heard from just now.

    Stale entries do not count: an earlier guest with that MAC may have left them.
    """
    return [
        (entry["lladdr"], entry["dst"])
        for entry in json.loads(table)
        if (entry.get("lladdr"), entry["dev"]) in cards and "REACHABLE" in entry["state"]
    ]


def _cards(domain: Any) -> set[tuple[str, str]]:
    """(MAC, bridge) of each card of a running domain."""
    cards = fromstring(domain.XMLDesc()).findall("devices/interface")
    pairs = ((card.find("mac"), card.find("source")) for card in cards)
    return {
        (mac.get("address", "").lower(), source.get("bridge", ""))
        for mac, source in pairs
        if mac is not None and source is not None
    }
