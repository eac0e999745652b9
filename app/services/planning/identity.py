"""Which VM a row means: (the platform's UUID, the VM's id), then its UUID, then a unique name."""

from __future__ import annotations

from app.domain.plan import Wanted
from app.domain.registered import KnownVM, RegisteredSource
from app.domain.spelling import folded
from app.services.planning.known import Known, SourceVMs, plain_uuid
from app.services.planning.report import Findings
from app.services.planning.words import listed, said

CANDIDATES = 8  # that an ambiguity lists


def source_of(row: Wanted, default: str, known: Known, found: Findings) -> RegisteredSource | None:
    """The source that a row names, or its platform, or `default`, or the only one."""
    platform = known.platform(row.vcenter_uuid) if row.vcenter_uuid else None
    ref = row.source or (default if platform is None else "")
    if not ref:
        return _unnamed(row, platform, known, found)
    source = known.source(ref)
    if source is None:
        names = [item.name for item in known.sources]
        found.error(
            row.place("source"),
            "source_unknown",
            f"no source {said(ref)} is registered; sources: {listed(names)}",
            known.suggestions.did_you_mean(ref, names) or "Register it (vmferry source add), or name one of these.",
        )
    elif row.vcenter_uuid and source.identity and plain_uuid(source.identity) != plain_uuid(row.vcenter_uuid):
        found.error(
            row.place("vcenter_uuid"),
            "source_differs",
            f"the row is of the vCenter {said(row.vcenter_uuid)}, and {source.name} is the vCenter {source.identity}",
            f"Name the source {platform.name}."
            if platform
            else "Register that vCenter as a source (vmferry source add).",
        )
        return None
    return source


def _unnamed(row: Wanted, platform: RegisteredSource | None, known: Known, found: Findings) -> RegisteredSource | None:
    if platform is not None:
        return platform
    if len(known.sources) == 1 and not (row.vcenter_uuid and known.sources[0].identity):
        return known.sources[0]
    names = [item.name for item in known.sources]
    if row.vcenter_uuid:
        found.error(
            row.place("vcenter_uuid"),
            "source_unknown",
            f"no registered source is the vCenter {said(row.vcenter_uuid)}; sources: {listed(names)}",
            "Register it and read its inventory (vmferry source add, vmferry inventory --refresh).",
        )
    else:
        found.error(
            row.place("source"),
            "source_missing",
            f"the row names no source, and {len(names) or 'none'} are registered: {listed(names)}"
            if names
            else "the row names no source, and none is registered",
            "Name one in the row, or one for all rows (--source)." if names else "Register one: vmferry source add.",
        )
    return None


def vm_of(row: Wanted, vms: SourceVMs, known: Known, found: Findings) -> KnownVM | None:
    name = vms.source.name
    if by_id := vms.by_id.get(row.vm_id):
        return _by_id(row, by_id, name, found)
    if row.vm_uuid and (same := vms.with_uuid(row.vm_uuid)):
        candidates = [vm for vm in same if folded(vm.name) == folded(row.vm_name)] or same
        return _one(row, "vm_uuid", f"have the UUID {said(row.vm_uuid)}", candidates, name, found)
    if not row.vm_name:
        _nowhere(row, vms, known, found)
        return None
    same = vms.named(row.vm_name)
    if not same:
        _nowhere(row, vms, known, found)
        return None
    if row.vm_uuid:
        vm = same[0]
        found.error(
            row.place("vm_uuid"),
            "vm_uuid_unknown",
            f"no VM of {name} has the UUID {said(row.vm_uuid)}: {vm.name} ({vm.id}) has {vm.uuid}",
            "Clear this cell if that one is meant, or read the inventory again (vmferry inventory --refresh).",
        )
        return None
    chosen = _one(row, "vm_name", f"are named {said(row.vm_name)}", same, name, found)
    if chosen and row.vm_id:
        found.warning(
            row.place("vm_id"),
            "vm_id_unknown",
            f"no VM of {name} has the id {said(row.vm_id)}: {chosen.name} is {chosen.id}, and is taken by its name",
            f"Write {chosen.id} if that one is meant.",
        )
    return chosen


def _by_id(row: Wanted, vm: KnownVM, source: str, found: Findings) -> KnownVM | None:
    if row.vm_uuid and plain_uuid(row.vm_uuid) != plain_uuid(vm.uuid):
        found.error(
            row.place("vm_uuid"),
            "vm_uuid_differs",
            f"{vm.id} of {source} is {vm.name} with the UUID {vm.uuid}, not {said(row.vm_uuid)}",
            "Clear the id or the UUID, whichever is wrong.",
        )
        return None
    if row.vm_name and folded(row.vm_name) != folded(vm.name):
        found.warning(
            row.place("vm_name"),
            "vm_name_differs",
            f"{vm.id} of {source} is named {said(vm.name)} now, not {said(row.vm_name)}: the id decides",
            "See that the right VM is meant.",
        )
    return vm


def _one(row: Wanted, field: str, what: str, candidates: list[KnownVM], source: str, found: Findings) -> KnownVM | None:
    if len(candidates) == 1:
        return candidates[0]
    shown = "; ".join(f"{vm.id} ({vm.name}) in {vm.folder or '/'}" for vm in candidates[:CANDIDATES])
    more = f" and {len(candidates) - CANDIDATES} more" if len(candidates) > CANDIDATES else ""
    found.error(
        row.place(field),
        "ambiguous_vm",
        f"{len(candidates)} VMs of {source} {what}: {shown}{more}",
        "Write the VM id of the one that is meant.",
    )
    return None


def _nowhere(row: Wanted, vms: SourceVMs, known: Known, found: Findings) -> None:
    name = vms.source.name
    field = next((field for field in ("vm_name", "vm_id", "vm_uuid") if getattr(row, field)), "")
    if not field:
        found.error(row.place(), "vm_missing", "the row names no VM", "Write its name, its id or its UUID.")
        return
    again = f"If it is new, read the inventory again: vmferry inventory {name} --refresh."
    if not vms.by_id:
        again = f"The inventory of {name} is empty: read it with vmferry inventory {name} --refresh."
    meant = known.suggestions.did_you_mean(row.vm_name, list(vms.by_name)) if field == "vm_name" else ""
    found.error(
        row.place(field),
        "vm_not_found",
        f"no VM {said(getattr(row, field))} in the inventory of {name}",
        meant or again,
    )
