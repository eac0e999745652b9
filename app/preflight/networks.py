"""Each card must have a network on the target, or the guest would arrive cut off."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, Move, TargetFacts


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    known = ", ".join(facts.networks) or "none"
    told: set[str] = set()
    for nic in move.vm.nics:
        network = move.network_for(nic)
        if network is None:
            if nic.network not in told:
                told.add(nic.network)
                yield Concern(
                    code="network_not_mapped",
                    severity="blocker",
                    cause=f"no network on {move.target.name} is given for {nic.network!r} ({nic.label})",
                    remedy=f"Map it on the target or for this job. The target has: {known}.",
                )
        elif network not in facts.networks and network not in told:
            told.add(network)
            yield Concern(
                code="network_missing",
                severity="blocker",
                cause=f"{move.target.name} has no active network {network} for {nic.label} on {nic.network!r}",
                remedy=f"Start it (virsh net-start), or map to one that is there: {known}.",
            )
