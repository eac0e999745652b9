"""Which way to the disks of a VM is the best one that works, in words that a user can weigh.

In ranges, over several connections, comes first where it moves no more bytes than an export: an interrupted copy goes
on where it was. An export leaves out zeros by itself, so it is better for thin disks of which nobody tells what is
allocated. nbdkit comes last where one of the two works, since the plugins are the user's and cannot be tried before;
but before an export where only that is left (vSAN, snapshots): it reads in ranges, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyVmomi import vim

from app.domain.errors import (
    LeaseExpired,
    SourceChanged,
    SourceDenied,
    TransferInterrupted,
    TransportRefused,
)
from app.domain.models import PowerState, SourceSpec, Transport, Way
from app.domain.ways import mostly_thick
from workers.sources.vsphere import folder, nbdkit
from workers.sources.vsphere.check import held
from workers.sources.vsphere.facts import Facts
from workers.sources.vsphere.facts import look as look_at
from workers.sources.vsphere.nbdkit import NbdkitOptions
from workers.sources.vsphere.session import Session

GIB = 1 << 30
_NO_WAY = (LeaseExpired, SourceChanged, SourceDenied, TransferInterrupted, TransportRefused)


def look(session: Session, spec: SourceSpec, options: NbdkitOptions, vm_id: str) -> list[Way]:
    """All ways, the best first, those that do not work last. Raises NotFound and SourceUnavailable."""
    facts = look_at(session, vm_id)
    https, nfc, nbd = _https(session, spec, vm_id), _nfc(session, facts, vm_id), _nbd(spec, options, facts)
    if not https.way.usable:
        ways = [nbd, nfc, https.way]
    elif https.skips or (https.ranged and mostly_thick(facts.disks)):
        ways = [https.way, nfc, nbd]
    else:
        ways = [nfc, https.way, nbd]
    return sorted(ways, key=lambda way: not way.usable)


@dataclass(frozen=True)
class _Https:
    """`ranged`: in any order; `skips`: it leaves out what is not allocated."""

    way: Way
    ranged: bool = False
    skips: bool = False


def _https(session: Session, spec: SourceSpec, vm_id: str) -> _Https:
    try:
        with folder.read_files(session, vm_id, "", direct=spec.kind == "esxi", cancel=lambda: None) as access:
            disks = [access.disk(key) for key in access.disk_keys]
            wanted = sum(area.length for disk in disks for area in disk.areas())
    except _NO_WAY as error:
        return _Https(Way(transport=Transport.HTTPS, usable=False, reason=error.message))
    total = sum(disk.capacity for disk in disks)
    if access.connections == 1:
        reason = "the host honours no byte ranges: each disk comes whole over one connection, and from its start again"
    elif wanted < total:
        reason = (
            f"byte ranges over {access.connections} connections, of the {_size(wanted)} only that are allocated"
            f" of {_size(total)}"
        )
    else:
        reason = f"byte ranges over {access.connections} connections; all {_size(total)} are read"
    way = Way(transport=Transport.HTTPS, usable=True, reason=reason)
    return _Https(way, ranged=access.connections > 1, skips=wanted < total)


def _nfc(session: Session, facts: Facts, vm_id: str) -> Way:
    left_out = [disk.label for disk in facts.disks if disk.mode.startswith("independent") or "rdm" in disk.backing]
    if left_out:
        return Way(transport=Transport.NFC, usable=False, reason=f"an export leaves out {', '.join(left_out)}")
    if not held(session, session.object(vim.VirtualMachine, vm_id), ["VApp.Export"]):
        return Way(transport=Transport.NFC, usable=False, reason="the account lacks the privilege VApp.Export")
    reason = "an export: one compressed stream a disk, of which the host leaves out zeros; cut, it begins again"
    if facts.power is not PowerState.OFF:
        reason += "; while the VM runs, of a snapshot only"
    return Way(transport=Transport.NFC, usable=True, reason=reason)


def _nbd(spec: SourceSpec, options: NbdkitOptions, facts: Facts) -> Way:
    choice = nbdkit.choose(spec, options)
    if not choice.plugin:
        return Way(transport=Transport.NBD, usable=False, reason=choice.reason)
    if choice.plugin == "ssh" and (facts.snapshots or facts.power is not PowerState.OFF):
        return Way(transport=Transport.NBD, usable=False, reason="over SSH only a VM that is off and has no snapshot")
    return Way(transport=Transport.NBD, usable=True, reason=f"ranges through nbdkit's {choice.plugin} plugin")


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
