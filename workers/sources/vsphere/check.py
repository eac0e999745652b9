"""What stands between us and a cold move from this source, each thing by name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

from app.domain.errors import VmferryError
from app.domain.models import Check, SourceSpec
from workers.sources.vsphere.faults import translated
from workers.sources.vsphere.session import Session
from workers.sources.vsphere.tls import PROBE_SECONDS, leaf, thumbprint

PRIVILEGES = {
    "System.Read": "see the inventory",
    "System.View": "see the inventory",
    "VApp.Export": "read disks through an export lease",
    "VirtualMachine.Interact.PowerOff": "shut the VM down",
    "VirtualMachine.Interact.PowerOn": "start it again when a move is undone",
    "VirtualMachine.Config.Annotation": "note on the source VM where it went",
}
WAYS = {  # without which only some ways to the disks are lost
    "Datastore.Browse": ("read the files of disks", "transport https"),
    "VirtualMachine.Provisioning.DiskRandomRead": (
        "ask which areas of a disk are allocated, and read it in any order",
        "skipping what is not allocated with transport https, and transport nbd",
    ),
    "VirtualMachine.Provisioning.GetVmFiles": ("open disks on port 902", "transport nbd"),
}
_API_TYPES = {"vcenter": "VirtualCenter", "esxi": "HostAgent"}


def run(session: Session, spec: SourceSpec) -> list[Check]:
    """The checks in order; after the first that fails, those that build on it are left out."""
    rows: list[Check] = []
    for name, look in (("reachable", _reachable), ("certificate", _certificate), ("api", _api), ("login", _login)):
        try:
            rows.append(look(session, spec))
        except VmferryError as error:
            rows.append(Check(name=name, ok=False, detail=error.message, remedy=error.remedy))
        if not rows[-1].ok:
            return rows
    try:
        rows.extend(_privileges(session))
    except VmferryError as error:
        rows.append(Check(name="privileges", ok=False, detail=error.message, remedy=error.remedy))
    return rows


def _reachable(session: Session, spec: SourceSpec) -> Check:
    endpoint = session.endpoint
    with translated(endpoint), socket.create_connection((endpoint.host, endpoint.port), PROBE_SECONDS) as sock:
        peer = sock.getpeername()[0]
    return Check(name="reachable", ok=True, detail=f"{peer} port {endpoint.port} answers")


def _certificate(session: Session, spec: SourceSpec) -> Check:
    endpoint = session.endpoint
    with translated(endpoint):
        seen = thumbprint(leaf(endpoint, session.context))
    verified = session.context.verify_mode is ssl.CERT_REQUIRED
    how = "pinned" if spec.tls.thumbprint else "verified" if verified else "NOT verified, as asked"
    return Check(name="certificate", ok=True, detail=f"{how}; SHA-256 {seen}")


def _api(session: Session, spec: SourceSpec) -> Check:
    about = session.about()
    detail = f"{about.fullName or about.name}, API {about.apiVersion}"
    if about.apiType != _API_TYPES[spec.kind]:
        other = next((kind for kind, api_type in _API_TYPES.items() if api_type == about.apiType), about.apiType)
        return Check(name="api", ok=False, detail=f"{detail}: it is a {other}", remedy=f"Register it as kind {other}.")
    return Check(name="api", ok=True, detail=detail)


def _login(session: Session, spec: SourceSpec) -> Check:
    session.log_in(after=None)
    return Check(name="login", ok=True, detail=f"as {spec.username}")


def _privileges(session: Session) -> Iterator[Check]:
    """One row each; one without which another way is left is no failure."""
    granted = held(session, None, [*PRIVILEGES, *WAYS])
    for privilege, purpose in PRIVILEGES.items():
        has = privilege in granted
        yield Check(
            name=f"privilege {privilege}",
            ok=has,
            detail=f"needed to {purpose}" if has else f"missing on the root folder; needed to {purpose}",
            remedy="" if has else _add(privilege),
        )
    for privilege, (purpose, way) in WAYS.items():
        has = privilege in granted
        yield Check(
            name=f"privilege {privilege}",
            ok=True,
            detail=f"used to {purpose}" if has else f"missing on the root folder; without it there is no {way}",
            remedy="" if has else _add(privilege),
        )


def held(session: Session, entity: Any, privileges: Sequence[str]) -> set[str]:
    """Those of the privileges that the account has on an entity, or on the root folder."""

    def ask() -> set[str]:
        service = session.service
        key = service.sessionManager.currentSession.key
        on = [entity or service.rootFolder]
        answers = service.authorizationManager.HasPrivilegeOnEntities(on, key, list(privileges))
        return {one.privId for answer in answers for one in answer.privAvailability if one.isGranted}

    return session.call(ask)


def _add(privilege: str) -> str:
    return f"Add {privilege} to the account's role, on the root folder with propagation."
