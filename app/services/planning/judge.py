"""Each VM that shall move, once by the rules of preflight: what the import can mend is an error, the rest a warning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app import preflight
from app.domain.described import differences
from app.domain.models import VM, Concern
from app.services.jobs import OF_THE_REQUEST
from app.services.moves import planned
from app.services.planning.drafts import Draft
from app.services.planning.known import Known
from app.services.planning.report import Findings
from app.services.planning.words import listed, said
from app.store.store import Store

BATCH = 500  # VMs in memory at once

_OF_ALL_TOGETHER = {"pool_full", "pool_is_reserved", "pool_may_fill_up"}  # see capacity.py
_OF_THE_ROW = OF_THE_REQUEST | {"domain_exists"}
_FIELDS = {
    "domain_name_invalid": "target_name",
    "domain_exists": "target_name",
    "network_not_mapped": "networks",
    "network_invalid": "networks",
    "network_missing": "networks",
    "pool_missing": "pool",
    "pool_inactive": "pool",
    "pool_type_unsupported": "pool",
    "converter_missing": "strategy",
    "profile_needs_check": "profile",
    "profile_needs_cpus": "profile",
    "profile_needs_huge_pages": "profile",
    "profile_needs_direct_io": "profile",
}
_FIXES = {
    "domain_exists": "Give it another 'target name', or remove that domain and check the target again.",
    "passthrough_device": "A plan cannot say what takes their place: move this VM on its own (vmferry migrate"
    " --hostdev), and write \"no\" into 'include'.",
}


@dataclass(frozen=True)
class Size:
    """What a VM will take on its target. `runs`: whether it takes memory and CPUs there, too."""

    disk_bytes: int
    memory_bytes: int
    cpus: int
    runs: bool


def judge(drafts: Sequence[Draft], known: Known, store: Store, found: Findings) -> dict[str, Size]:
    """key → its size, of those drafts that are included and whose VM the inventory has."""
    sizes: dict[str, Size] = {}
    for draft, vm in _with_vms([draft for draft in drafts if draft.item.include], store):
        if draft.to is None:
            sizes[draft.item.key] = Size(vm.disk_bytes, vm.memory_bytes, vm.cpus, runs=False)
            continue
        move = planned("plan", vm, draft.to, draft.item.options, ())
        sizes[draft.item.key] = Size(move.vm.disk_bytes, move.vm.memory_bytes, move.vm.cpus, move.runs_after())
        _tell_age(draft, vm, found)
        if draft.open and draft.to.facts is not None:
            _unused_networks(draft, vm, known, found)
            for concern in preflight.run(move, draft.to.facts):
                _tell(draft, concern, found)
    return sizes


def _with_vms(drafts: Sequence[Draft], store: Store) -> Iterator[tuple[Draft, VM]]:
    by_source: Mapping[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.source is not None:
            by_source[draft.source.id].append(draft)
    for source_id, of_source in by_source.items():
        for start in range(0, len(of_source), BATCH):
            batch = of_source[start : start + BATCH]
            vms = store.inventory.whole(source_id, [draft.item.vm_id for draft in batch])
            yield from ((draft, vms[draft.item.vm_id]) for draft in batch if draft.item.vm_id in vms)


def _tell(draft: Draft, concern: Concern, found: Findings) -> None:
    if concern.severity != "blocker" or concern.code in _OF_ALL_TOGETHER:
        return
    field = _FIELDS.get(concern.code, "")
    place = draft.place(field) if field and draft.place(field) != draft.row.place() else draft.vm_place()
    tell = found.error if concern.code in _OF_THE_ROW else found.warning
    tell(place, concern.code, concern.cause, _FIXES.get(concern.code, concern.remedy))


def _tell_age(draft: Draft, vm: VM, found: Findings) -> None:
    """An inventory tool's export says more of a VM than who it is; what counts is the inventory."""
    since = list(differences(draft.row.described, vm)) if draft.row.described else []
    if since:
        cause = f"{vm.name} is no longer as this sheet has it: it has {'; '.join(since)}"
        found.warning(draft.vm_place(), "vm_changed", cause, "See that the plan still fits; it goes by the inventory.")


def _unused_networks(draft: Draft, vm: VM, known: Known, found: Findings) -> None:
    """What a row maps and the VM is not on: a slip of the pen would leave its card where the target's map says."""
    networks = {nic.network for nic in vm.nics}
    for name in draft.item.options.networks:
        if name != "*" and name not in networks:
            found.warning(
                draft.place("networks"),
                "network_unused",
                f"{vm.name} is not on the network {said(name)}; it is on: {listed(networks)}",
                known.suggestions.did_you_mean(name, sorted(networks)) or "Take it out of this cell.",
            )
