"""libvirt's errors as ours: by code, and by the system's errno where libvirt passes it on."""

from __future__ import annotations

import errno

import libvirt

from app.domain.errors import DomainExists, NoSpace, NotFound, TargetDenied, TargetUnavailable, VmferryError

GONE = {
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
}
_UNAVAILABLE = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,  # another call holds the domain's lock
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
}
_DENIED = {
    libvirt.VIR_ERR_ACCESS_DENIED,
    libvirt.VIR_ERR_AUTH_CANCELLED,
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    libvirt.VIR_ERR_OPERATION_DENIED,
}
_NO_ACCESS = "Let the user that runs the worker use libvirt: add it to the group libvirt."


def translate(error: libvirt.libvirtError) -> VmferryError:
    """The error to raise `from` libvirt's. What is not recognised is permanent, with libvirt's own words."""
    code, message = error.get_error_code(), error.get_error_message() or str(error)
    number = error.get_int1() if code == libvirt.VIR_ERR_SYSTEM_ERROR else 0
    if code in GONE:
        return NotFound(message)
    if code in _DENIED or number in (errno.EACCES, errno.EPERM):
        return TargetDenied(message, _NO_ACCESS)
    # qemu-img is run by libvirt: its errno comes as text only
    if number == errno.ENOSPC or "No space left on device" in message:
        return NoSpace(message, "Free space in the pool, or choose another one.")
    if code == libvirt.VIR_ERR_DOM_EXIST or "already exists with uuid" in message or "is already defined" in message:
        return DomainExists(message, "Give another target name, or remove that domain.")
    if code in _UNAVAILABLE or error.get_error_domain() == libvirt.VIR_FROM_RPC or "asynchronous jobs" in message:
        return TargetUnavailable(message, "Is libvirtd running? Try: virsh -c URI version")
    return TargetDenied(message)
