"""pyVmomi's and the network's errors, as ours."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from app.domain.errors import (
    NotFound,
    PermanentError,
    SourceChanged,
    SourceDenied,
    SourceUnavailable,
    VmferryError,
)
from workers.sources.vsphere.tls import Endpoint, untrusted

_BUSY = (vim.fault.TaskInProgress, vim.fault.InvalidState)
_UNAVAILABLE = (
    vim.fault.Timedout,
    vim.fault.HostConnectFault,
    vim.fault.ConcurrentAccess,
    vim.fault.NoHost,
    vmodl.fault.HostCommunication,
    vmodl.fault.SystemError,
)


class SessionEnded(SourceUnavailable):
    """The server does not know our session any more: a new login mends it."""


class Busy(SourceUnavailable):
    """Something else is under way on that object, for example an export whose owner died: it will end."""


@contextmanager
def translated(endpoint: Endpoint) -> Iterator[None]:
    """Raise what happens inside as SourceDenied, SourceUnavailable, SourceChanged, NotFound or PermanentError."""
    try:
        yield
    except vmodl.MethodFault as fault:
        raise from_fault(fault, endpoint) from fault
    except ssl.SSLCertVerificationError as error:
        raise untrusted(endpoint, error) from error
    except ssl.SSLError as error:
        raise SourceUnavailable(
            f"no TLS connection to {endpoint}: {error.strerror or error}",
            "Is this the HTTPS port of a vCenter or ESXi host?",
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"{endpoint} does not answer: {error.strerror or error}", "Check its name, the network and the firewall."
        ) from error
    except http.client.HTTPException as error:
        raise SourceUnavailable(
            f"{endpoint} did not answer as vSphere does: {type(error).__name__} {error}",
            "The service may be starting (vCenter says 503 then); see its health page.",
        ) from error
    except ExpatError as error:
        raise SourceUnavailable(
            f"{endpoint} answered with something that is not SOAP",
            "Is this a vCenter or ESXi host, without a proxy before it?",
        ) from error


def from_fault(fault: Any, endpoint: Endpoint) -> VmferryError:
    """The error for a SOAP fault, whether it was raised by a call or found in a task."""
    says = describe(fault)
    match fault:
        case vim.fault.InvalidLogin():
            return SourceDenied(f"{endpoint} refused the login", "Check user name (with its domain) and password.")
        case vim.fault.NotAuthenticated():
            return SessionEnded(f"{endpoint} ended our session", "Ask for an idle timeout of 30 minutes or more.")
        case vim.fault.NoPermission():
            return _no_permission(fault, endpoint)
        case vmodl.fault.ManagedObjectNotFound():
            return NotFound(
                f"{endpoint} has no {_name(fault.obj)}", "It was deleted or re-registered: list the inventory."
            )
        case vim.fault.InvalidPowerState():
            return SourceChanged(
                f"{endpoint} refused: the VM is {fault.existingState}, not {fault.requestedState}",
                "Somebody changed its power state meanwhile. See to it that nobody does, and try again.",
            )
        case vim.fault.RestrictedVersion():
            return SourceDenied(f"the licence of {endpoint} forbids this call: {says}", "The API needs a paid licence.")
        case vmodl.fault.SecurityError() | vim.fault.HostAccessRestrictedToManagementServer():
            return SourceDenied(f"{endpoint} refused: {says}", "")
        case _ if isinstance(fault, _BUSY):
            return Busy(f"{endpoint} refused while something else is under way: {says}", "See the VM's tasks.")
        case _ if isinstance(fault, _UNAVAILABLE):
            return SourceUnavailable(f"{endpoint} cannot do it now: {says}", "")
    return PermanentError(f"{endpoint} refused: {says}", "", code="source_refused")


def describe(fault: Any) -> str:
    """A fault's name and its message in one line."""
    texts = [fault.msg, *(m.message for m in fault.faultMessage or [])]
    name = type(fault).__name__.rpartition(".")[2]
    return ": ".join(dict.fromkeys([name, *(" ".join(t.split()) for t in texts if t)]))


def _no_permission(fault: Any, endpoint: Endpoint) -> SourceDenied:
    missing = [(fault.object, fault.privilegeId)] if fault.privilegeId else []
    for entry in getattr(fault, "missingPrivileges", None) or []:
        missing += [(entry.entity, privilege) for privilege in entry.privilegeIds]
    privileges = sorted({str(privilege) for _, privilege in missing}) or ["(it did not say which)"]
    where = sorted({_name(entity) for entity, _ in missing if entity}) or ["the object"]
    return SourceDenied(
        f"{endpoint} refused: the account lacks the privilege {', '.join(privileges)} on {', '.join(where)}",
        f"Add {', '.join(privileges)} to the account's role, on the VM or on a folder above it with propagation.",
        privileges=privileges,
    )


def _name(reference: Any) -> str:
    return f"{type(reference).__name__.rpartition('.')[2]} {reference._GetMoId()}" if reference else "such object"
