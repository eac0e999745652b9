"""Nothing on the target may be mistaken for, or overwritten by, the VM that arrives."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    name, uuid = move.domain_name, move.vm.uuid.lower()
    for domain in facts.domains:
        if domain.job == move.job_id:
            continue
        if domain.name == name:
            yield Concern(
                code="domain_exists",
                severity="blocker",
                cause=f"{move.target.name} has a domain named {domain.name} already",
                remedy="Give the VM another name there (target_name), or rename or remove that domain.",
            )
        elif domain.uuid.lower() == uuid:
            yield Concern(
                code="domain_uuid_exists",
                severity="blocker",
                cause=f"the domain {domain.name} on {move.target.name} has this VM's UUID, {domain.uuid}",
                remedy="It may be an earlier copy of it: remove that domain first.",
            )
